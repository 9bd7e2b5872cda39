package main

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// execution is one request of an http.request job, as its receiver saw it.
type execution struct {
	attempt    int
	start, end time.Time
	broken     bool // the worker went away before it had the answer
}

// receiver is the endpoint that jobs call. It writes down every call, and answers 200 and the
// attempt's number after as long as the URL says.
type receiver struct {
	server   *http.Server
	listener net.Listener
	mu       sync.Mutex
	seen     map[string][]execution // by job
	nameless int                    // calls without a job's id
	busy     int
}

func newReceiver() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &receiver{listener: l, seen: map[string][]execution{}}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *receiver) url(hold time.Duration) string {
	return "http://" + s.listener.Addr().String() + "/?hold=" + hold.String()
}

func (s *receiver) close() { _ = s.server.Close() }

func (s *receiver) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := r.Header.Get("Webhook-Id")
	attempt, err := strconv.Atoi(r.Header.Get("Waybill-Attempt"))
	place := s.begin(id, execution{attempt: attempt, start: start}, id != "" && err == nil)
	_, _ = io.Copy(io.Discard, r.Body)
	hold, _ := time.ParseDuration(r.URL.Query().Get("hold"))
	broken := false
	select {
	case <-time.After(hold):
	case <-r.Context().Done():
		broken = true
	}
	s.finish(id, place, broken)
	_, _ = io.WriteString(w, r.Header.Get("Waybill-Attempt")) // so that an outcome shows whose it is
}

func (s *receiver) begin(id string, e execution, named bool) (place int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	if !named {
		s.nameless++
		return -1
	}
	s.seen[id] = append(s.seen[id], e)
	return len(s.seen[id]) - 1
}

func (s *receiver) finish(id string, place int, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if place >= 0 {
		s.seen[id][place].end, s.seen[id][place].broken = time.Now(), broken
	}
}

// running is how many calls wait for their answer.
func (s *receiver) running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

func (s *receiver) executions() (seen map[string][]execution, nameless int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen = make(map[string][]execution, len(s.seen))
	for id, list := range s.seen {
		seen[id] = append([]execution(nil), list...)
	}
	return seen, s.nameless
}
