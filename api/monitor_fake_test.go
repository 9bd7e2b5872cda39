package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const rightPassword = "correct horse"

// unreachableRedis is a client whose server is not there.
func unreachableRedis(t testing.TB) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The sessions of fakeAuth: a browser's token is the user's name behind "session ".

func (a *fakeAuth) CreateSession(_ context.Context, email, password string) (string, error) {
	name, _, _ := strings.Cut(email, "@")
	switch {
	case a.err != nil:
		return "", a.err
	case len(password) < 8:
		return "", job.Invalid("/password", "must have at least 8 bytes")
	case a.principals[name] == nil || password != rightPassword:
		return "", &job.Error{Code: job.CodeUnauthenticated, Message: "the e-mail or the password is wrong"}
	}
	return "session " + name, nil
}

func (a *fakeAuth) SessionPrincipal(_ context.Context, token string) (*account.Principal, error) {
	if a.err != nil {
		return nil, a.err
	}
	name, ok := strings.CutPrefix(token, "session ")
	if p := a.principals[name]; ok && p != nil && !slices.Contains(a.ended, token) {
		return p, nil
	}
	return nil, &job.Error{Code: job.CodeUnauthenticated, Message: "no session"}
}

func (a *fakeAuth) EndSession(_ context.Context, token string) error {
	a.ended = append(a.ended, token)
	return a.err
}

func (l *fakeLedger) RunNow(_ context.Context, id job.ID) (*job.Job, error) {
	return l.changeState(id, "run", []job.State{job.Archived, job.Canceled, job.Retry, job.Scheduled}, func(j *job.Job) {
		j.State, j.Delivery, j.FinishedAt = job.Pending, j.Delivery+1, time.Time{}
	})
}

func (l *fakeLedger) Archive(_ context.Context, id job.ID, reason string) (*job.Job, error) {
	return l.changeState(id, "archived", job.WaitingStates, func(j *job.Job) {
		j.Errors = append(j.Errors, job.AttemptError{Message: reason})
		l.finish(j, job.Archived)
	})
}

func (l *fakeLedger) changeState(id job.ID, verb string, from []job.State, change func(*job.Job)) (*job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	j := l.jobs[id]
	if !slices.Contains(from, j.State) {
		return nil, job.Conflict(j.State, verb)
	}
	change(j)
	return l.copy(id), nil
}

func (l *fakeLedger) Pause(_ context.Context, queue, by, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !slices.ContainsFunc(l.paused, func(q job.Queue) bool { return q.Name == queue }) {
		l.paused = append(l.paused, job.Queue{Name: queue, PausedAt: time.Now(), PausedBy: by, Reason: reason})
	}
	return l.err
}

func (l *fakeLedger) Resume(_ context.Context, queue string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = slices.DeleteFunc(l.paused, func(q job.Queue) bool { return q.Name == queue })
	return l.err
}

// fakeQueues answers the figures that it is given.
type fakeQueues struct {
	ledger  *fakeLedger
	figures QueueFigures
}

func (q *fakeQueues) Queues(context.Context) ([]job.Queue, error) {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	return slices.Clone(q.ledger.paused), q.ledger.err
}

func (q *fakeQueues) QueueFigures(context.Context) (*QueueFigures, error) {
	return &q.figures, q.ledger.err
}

// fakeInspector keeps tasks by the list they stand in, and notes what was done.
type fakeInspector struct {
	mu      sync.Mutex
	lists   map[job.State][]string
	actions []string
	err     error
}

func newFakeRoad() *fakeInspector { return &fakeInspector{lists: map[job.State][]string{}} }

func (r *fakeInspector) note(action string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.actions = append(r.actions, action)
	return r.err
}

func (r *fakeInspector) TaskIDs(_ context.Context, _ string, list job.State, limit int) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := r.lists[list]
	return slices.Clone(ids[:min(len(ids), limit)]), r.err
}

func (r *fakeInspector) RunTask(_ context.Context, q, id string) error {
	return r.note("run " + q + " " + id)
}
func (r *fakeInspector) ArchiveTask(_ context.Context, q, id string) error {
	return r.note("archive " + q + " " + id)
}
func (r *fakeInspector) DeleteTask(_ context.Context, q, id string) error {
	return r.note("delete " + q + " " + id)
}
func (r *fakeInspector) CancelTask(_ context.Context, id string) error { return r.note("cancel " + id) }
func (r *fakeInspector) PauseQueue(_ context.Context, q string) error  { return r.note("pause " + q) }
func (r *fakeInspector) ResumeQueue(_ context.Context, q string) error { return r.note("resume " + q) }
func (r *fakeInspector) QueuePaused(_ context.Context, q string) (paused bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, action := range r.actions {
		switch action {
		case "pause " + q:
			paused = true
		case "resume " + q:
			paused = false
		}
	}
	return paused, r.err
}
func (r *fakeInspector) DeleteQueue(_ context.Context, q string) error {
	return r.note("delete queue " + q)
}

// browse sends what a browser would, signed in as the user if there is a name; header holds names
// and values in turn.
func (h *apiTest) browse(method, path, user, body string, header ...string) answer {
	h.t.Helper()
	req := httptest.NewRequest(method, "http://waybill.test/", strings.NewReader(body))
	before, rawQuery, _ := strings.Cut(path, "?")
	req.URL.Path, _ = url.PathUnescape(before)
	req.URL.RawPath, req.URL.RawQuery, req.RequestURI = before, rawQuery, path
	if user != "" {
		req.AddCookie(&http.Cookie{Name: h.cookieName(), Value: "session " + user, Quoted: true})
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.api.Handler().ServeHTTP(rec, req)
	a := answer{t: h.t, status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if a.header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		h.t.Errorf("%s %s: security headers are missing: %v", method, path, a.header)
	}
	return a
}

func (h *apiTest) cookieName() string {
	if strings.HasPrefix(h.cfg.PublicURL, "https") {
		return "__Host-waybill"
	}
	return "waybill"
}

const (
	formType = "application/x-www-form-urlencoded"
	htmlPage = "text/html,application/xhtml+xml"
)

// reopen is set for a job that was finished before.
func (l *fakeLedger) reopen(id job.ID, change func(*job.Job)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished[id] = make(chan struct{})
	change(l.jobs[id])
}
