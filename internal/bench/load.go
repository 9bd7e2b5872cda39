package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// load is a set of connections to one server.
type load struct {
	wires []*wire
}

// dial opens the connections, so that what is measured begins with the first request.
func dial(ctx context.Context, t target, n int) (*load, error) {
	l := &load{}
	for range n {
		w, err := t.dial(ctx)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connect to %s: %w", t.addr, err)
		}
		l.wires = append(l.wires, w)
	}
	return l, nil
}

func (l *load) close() {
	for _, w := range l.wires {
		w.close()
	}
}

// closed submits the same on every connection, one request after the other, until n are answered,
// and answers how long each took.
func (l *load) closed(ctx context.Context, n int, request []byte) ([]time.Duration, error) {
	return l.all(ctx, n, http.StatusAccepted, func(int) []byte { return request })
}

// all keeps every connection busy until n requests are answered. Any status but the wanted one ends
// it.
func (l *load) all(ctx context.Context, n, want int, request func(i int) []byte) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	var next atomic.Int64
	return took, l.each(ctx, func(ctx context.Context, w *wire) error {
		var body []byte
		for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
			began := time.Now()
			var err error
			if body, err = w.expect(ctx, want, request(int(i)), body); err != nil {
				return err
			}
			took[i] = time.Since(began)
		}
		return nil
	})
}

// open sends n requests at a fixed rate, however long their answers take. request makes the one
// that is due at a moment; answered gets what came of each. A request that is sent late, for want
// of a free connection or of CPU, was due all the same: latencies count from due.
func (l *load) open(
	ctx context.Context,
	n, rate int,
	request func(due time.Time) []byte,
	answered func(i int, due time.Time, body []byte),
) error {
	type call struct {
		i   int
		due time.Time
	}
	calls := make(chan call, n)
	began := time.Now()
	go func() {
		defer close(calls)
		for i := range n {
			due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
			if !pause(ctx, time.Until(due)) {
				return
			}
			calls <- call{i, due}
		}
	}()
	return l.each(ctx, func(ctx context.Context, w *wire) error {
		for c := range calls {
			body, err := w.expect(ctx, http.StatusAccepted, request(c.due), nil)
			if err != nil {
				return err
			}
			answered(c.i, c.due, body)
		}
		return ctx.Err()
	})
}

// each runs f on every connection at once. The first error ends all of them.
func (l *load) each(ctx context.Context, f func(ctx context.Context, w *wire) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, w := range l.wires {
		group.Go(func() {
			if err := f(ctx, w); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func (w *wire) expect(ctx context.Context, want int, request, body []byte) ([]byte, error) {
	status, body, err := w.do(ctx, request, body)
	if err == nil && status != want {
		line, _, _ := bytes.Cut(request, []byte(" HTTP/"))
		err = fmt.Errorf("%s is answered with %d: %.300s", line, status, body)
	}
	return body, err
}

// pause reports whether the context lasted as long.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
