package obs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"
)

// lineHandler writes records as careful does, but those that are plain by itself: each request
// writes one, and a handler that calls redact for every attribute takes as long for it as reading
// and checking a submission. A record is plain where its texts need no escapes and nothing in it
// could be a secret. Loggers made by With and WithGroup are careful's alone.
type lineHandler struct {
	w       io.Writer
	careful slog.Handler
	slow    bool // all is careful's
}

// Enabled implements slog.Handler.
func (h *lineHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.careful.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{w: h.w, careful: h.careful.WithAttrs(attrs), slow: true}
}

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{w: h.w, careful: h.careful.WithGroup(name), slow: true}
}

// Handle implements slog.Handler.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	done, err := h.plain(r)
	if !done {
		err = h.careful.Handle(ctx, r)
	}
	if g, ok := h.w.(*BufferedWriter); ok && r.Level >= slog.LevelWarn {
		return errors.Join(err, g.Flush())
	}
	return err
}

// plain writes r if it is plain.
func (h *lineHandler) plain(r slog.Record) (done bool, err error) {
	if h.slow {
		return false, nil
	}
	room := lineRoom.Get().(*[]byte)
	line, done := appendLine((*room)[:0], r)
	if done {
		_, err = h.w.Write(line)
	}
	if cap(line) <= maxLineRoom {
		*room = line
		lineRoom.Put(room)
	}
	return done, err
}

// lineRoom holds slices for lines.
var lineRoom = sync.Pool{New: func() any { return new(make([]byte, 0, 1<<10)) }}

const maxLineRoom = 16 << 10 // bytes of a slice that is worth keeping

// appendLine answers false where r is not plain.
func appendLine(b []byte, r slog.Record) (line []byte, ok bool) {
	if r.Time.IsZero() || !isPlain(r.Message) {
		return b, false
	}
	b = appendInstant(append(b, `{"time":`...), r.Time)
	b = append(append(b, `,"level":"`...), r.Level.String()...)
	b = append(append(append(b, `","msg":"`...), r.Message...), '"')
	ok = true
	r.Attrs(func(a slog.Attr) bool {
		b, ok = appendAttr(b, a)
		return ok
	})
	return append(b, '}', '\n'), ok
}

func appendAttr(b []byte, a slog.Attr) (text []byte, ok bool) {
	if !isPlain(a.Key) || a.Key == "" {
		return b, false
	}
	b = append(append(append(b, ',', '"'), a.Key...), '"', ':')
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		s := v.String()
		return append(append(append(b, '"'), s...), '"'), isPlain(s) && !secretName(a.Key) && !mayHoldPassword(s)
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool()), true
	case slog.KindDuration:
		return strconv.AppendInt(b, int64(v.Duration()), 10), true
	case slog.KindFloat64: // others are written with an exponent, in a way of JSON's own
		f := math.Abs(v.Float64())
		return strconv.AppendFloat(b, v.Float64(), 'f', -1, 64), f == 0 || f >= 1e-6 && f < 1e21
	}
	return b, false
}

func appendInstant(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// isPlain reports whether s means itself between double quotes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// oneAtATime lets two handlers write to the same place.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}
