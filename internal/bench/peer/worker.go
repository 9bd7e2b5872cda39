package peer

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// worker runs jobs that do nothing but be counted. It is started and stopped from outside, since a
// paused asynq sleeps for a second before it looks again, and a drain would begin with that second.
type worker struct {
	redis asynq.RedisConnOpt

	mu      sync.Mutex
	server  *asynq.Server
	count   int
	target  int
	reached chan struct{}
	waits   []time.Duration // of jobs that say when they were due
}

func (w *worker) mux() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", metrics)
	m.HandleFunc("POST /start", func(rw http.ResponseWriter, _ *http.Request) {
		if err := w.start(); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
		}
	})
	m.HandleFunc("POST /stop", func(http.ResponseWriter, *http.Request) { w.stop() })
	m.HandleFunc("POST /expect", func(_ http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n")) // 0 is never reached
		w.expect(n)
	})
	m.HandleFunc("GET /reached", w.await)
	return m
}

func (w *worker) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server != nil {
		return nil
	}
	s := asynq.NewServer(w.redis, asynq.Config{Queues: map[string]int{Queue: 1}, LogLevel: asynq.ErrorLevel})
	if err := s.Start(asynq.HandlerFunc(w.handle)); err != nil {
		return err
	}
	w.server = s
	return nil
}

func (w *worker) stop() {
	w.mu.Lock()
	s := w.server
	w.server = nil
	w.mu.Unlock()
	if s != nil {
		s.Shutdown()
	}
}

// expect counts again, up to n.
func (w *worker) expect(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count, w.target, w.reached, w.waits = 0, n, make(chan struct{}), make([]time.Duration, 0, n)
}

// due is what a payload may say.
type due struct {
	Due int64 `json:"due"` // nanoseconds since 1970
}

func (w *worker) handle(_ context.Context, t *asynq.Task) error {
	now := time.Now()
	var d due
	if err := json.Unmarshal(t.Payload(), &d); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.Due != 0 {
		w.waits = append(w.waits, now.Sub(time.Unix(0, d.Due)))
	}
	if w.count++; w.count == w.target {
		close(w.reached)
	}
	return nil
}

// await answers, as soon as all that was expected is handled, how long the jobs waited.
func (w *worker) await(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	reached := w.reached
	w.mu.Unlock()
	select {
	case <-reached:
	case <-r.Context().Done():
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = json.NewEncoder(rw).Encode(w.waits) // to a client that has gone
}
