package obs

import (
	"io"
	"sync"
	"time"
)

const (
	gatherFor   = 100 * time.Millisecond // how long a line may wait for others
	gatherBytes = 32 << 10               // what is written without waiting
)

// BufferedWriter writes what many goroutines log a moment later, together: a line for each request
// would be a system call for each, under a lock that all of them want. A Logger that writes to it
// has warnings and errors written at once, with all that came before; what a killed process takes
// with it are the last gatherFor of its other lines. It is safe for concurrent use.
type BufferedWriter struct {
	w io.Writer

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer // nil: never needed yet
	armed bool        // the timer will flush
}

// NewBufferedWriter makes a BufferedWriter that writes to w. Flush must be its last call.
func NewBufferedWriter(w io.Writer) *BufferedWriter { return &BufferedWriter{w: w} }

// Write implements io.Writer. Lines are never mixed.
func (g *BufferedWriter) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf = append(g.buf, p...)
	if len(g.buf) >= gatherBytes {
		return len(p), g.flush()
	}
	if !g.armed {
		g.armed = true
		g.arm()
	}
	return len(p), nil
}

// arm sets the timer; called with mu held.
func (g *BufferedWriter) arm() {
	if g.timer != nil {
		g.timer.Reset(gatherFor)
		return
	}
	g.timer = time.AfterFunc(gatherFor, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.armed = false
		_ = g.flush() // there is nowhere left to report it
	})
}

// Flush writes what was gathered.
func (g *BufferedWriter) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.flush()
}

// flush is called with mu held.
func (g *BufferedWriter) flush() error {
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.w.Write(g.buf)
	g.buf = g.buf[:0]
	if cap(g.buf) > 2*gatherBytes { // a line was very long
		g.buf = nil
	}
	return err
}
