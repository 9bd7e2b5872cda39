package obs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// syncWriter notes each write.
type syncWriter struct {
	mu     sync.Mutex
	writes []string
	err    error
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, string(p))
	return len(p), w.err
}

func (w *syncWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.writes)
}

func (w *syncWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.writes, "")
}

func TestLinesAreWrittenTogetherAMomentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &syncWriter{}
		log := Logger(NewBufferedWriter(w), slog.LevelInfo, "json")
		for range 2 { // the timer works more than once
			before := w.count()
			log.Info("one")
			log.Info("two", "err", errors.New("not plain"))
			if w.count() != before {
				t.Fatalf("written at once: %q", w.writes)
			}
			time.Sleep(gatherFor)
			synctest.Wait()
			if got := w.count() - before; got != 1 {
				t.Fatalf("%d writes, want 1: %q", got, w.writes)
			}
		}
		if strings.Count(w.text(), "\n") != 4 {
			t.Errorf("%q", w.writes)
		}
	})
}

func TestWarningsAreWrittenAtOnceWithWhatCameBefore(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		w := &syncWriter{}
		log := Logger(NewBufferedWriter(w), slog.LevelInfo, format)
		log.Info("first")
		log.Warn("second", "n", 1)
		if got := w.text(); strings.Count(got, "\n") != 2 ||
			strings.Index(got, "first") > strings.Index(got, "second") {
			t.Errorf("%s: %q", format, got)
		}
		log.With("a", 1).WithGroup("g").Error("third")
		if got := w.text(); !strings.Contains(got, "third") {
			t.Errorf("%s: %q", format, got)
		}
	}
}

func TestMuchIsWrittenWithoutWaitingAndNothingIsMixed(t *testing.T) {
	t.Parallel()
	w := &syncWriter{}
	g := NewBufferedWriter(w)
	var group sync.WaitGroup
	line := strings.Repeat("x", 99) + "\n"
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if n, err := g.Write([]byte(line)); n != len(line) || err != nil {
					t.Error(n, err)
				}
			}
		})
	}
	group.Wait()
	if w.count() == 0 {
		t.Error("all of it is in memory")
	}
	if err := g.Flush(); err != nil {
		t.Error(err)
	}
	if got := w.text(); got != strings.Repeat(line, 8000) {
		t.Errorf("%d bytes came", len(got))
	}
}

func TestWhatCannotBeWrittenIsSaid(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	g := NewBufferedWriter(&syncWriter{err: broken})
	if _, err := g.Write(bytes.Repeat([]byte("x"), gatherBytes)); !errors.Is(err, broken) {
		t.Error(err)
	}
	_, _ = g.Write([]byte("x"))
	if err := g.Flush(); !errors.Is(err, broken) {
		t.Error(err)
	}
}
