package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// submit makes a job and returns its id.
func (h *apiTest) submit(token, body string, header ...string) job.ID {
	h.t.Helper()
	id, err := job.ParseID(h.call("POST", "/v1/jobs", token, body, header...).want(202).json()["id"].(string))
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func TestAJobIsWrittenDownWithItsDefaultsAndSent(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	a := h.call("POST", "/v1/jobs", alice, `{"type":"debug.echo","payload":{"a":1}}`).want(202)
	j := a.json()
	if a.header.Get("Location") != "/v1/jobs/"+j["id"].(string) || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("headers: %v", a.header)
	}
	for name, want := range map[string]any{"state": "pending", "queue": "default", "max_retries": 25.0,
		"timeout":  "30s",
		"owner_id": h.auth.principals[alice].UserID.String(), "result": nil, "deadline": nil} {
		if j[name] != want {
			t.Errorf("%s is %v, want %v", name, j[name], want)
		}
	}
	if len(h.dispatcher.sent) != 1 || h.dispatcher.sent[0].JobID.String() != j["id"] {
		t.Errorf("sent: %v", h.dispatcher.sent)
	}
}

func TestWhatIsGivenReplacesTheDefaults(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(
		alice,
		with(`"queue":"low","delay":"90s","max_retries":0,"timeout":"1h30m","backoff":{"kind":"fixed","base":"24h"},
		"labels":{"a.b/c":"x","k":""},"deadline":"`+h.clock.now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`),
	)
	j, _ := h.ledger.Job(t.Context(), id)
	if got := j.RunAt.Sub(j.CreatedAt); got != 90*time.Second { // the ledger's clock begins the delay
		t.Errorf("it waits for %v", got)
	}
	if j.Queue != "low" || j.MaxRetries != 0 || j.Timeout != 90*time.Minute || len(j.Labels) != 2 ||
		j.Deadline.IsZero() {
		t.Errorf("%+v", j)
	}
	if j.Backoff != (job.Backoff{Kind: job.Fixed, Base: 24 * time.Hour, Max: 24 * time.Hour}) {
		t.Errorf("%+v", j.Backoff)
	}
	if got := h.call("GET", "/v1/jobs/"+id.String(), alice, "").want(200).json(); got["timeout"] != "1h30m" ||
		got["state"] != "scheduled" {
		t.Errorf("%v", got)
	}
}

func TestATimeInThePastMeansAtOnce(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, with(`"run_at":"2001-01-01T00:00:00+02:00"`))
	if j, _ := h.ledger.Job(t.Context(), id); j.State != job.Pending {
		t.Errorf("state %s", j.State)
	}
}

func TestTheSameKeyMakesOneJobHoweverOftenItComes(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var all sync.WaitGroup
	ids := make([]job.ID, 50)
	for i := range ids {
		all.Go(func() { ids[i] = h.submit(alice, echo, "Idempotency-Key", "k") })
	}
	all.Wait()
	if len(slices.Compact(ids)) != 1 || h.ledger.len() != 1 || len(h.dispatcher.sent) != 1 {
		t.Errorf("%d jobs, %d sent", h.ledger.len(), len(h.dispatcher.sent))
	}
	a := h.call("POST", "/v1/jobs", alice, echo, "Idempotency-Key", "k").want(202)
	if a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("headers: %v", a.header)
	}
}

func TestAKeyBelongsToItsUserAndItsBody(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	first := h.submit(alice, echo, "Idempotency-Key", "k")
	if h.submit(bob, echo, "Idempotency-Key", "k") == first {
		t.Error("two users share a job")
	}
	a := h.call("POST", "/v1/jobs", alice, echo+" ", "Idempotency-Key", "k").want(422)
	if a.problem().Code != job.CodeKeyReused {
		t.Errorf("code %s", a.problem().Code)
	}
}

func TestAJobIsSeenByItsOwnerAndByViewersOnly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	path := "/v1/jobs/" + h.submit(alice, echo).String()
	for _, token := range []string{alice, readKey, viewer, operator, admin} {
		h.call("GET", path, token, "").want(200)
	}
	for _, action := range []string{"/cancel", "/retry"} {
		h.call("POST", path+action, bob, "").want(404)
		h.call("POST", path+action, viewer, "").want(403)
		h.call("POST", path+action, readKey, "").want(403)
	}
	h.call("GET", path, bob, "").want(404)
	if len(h.audit.entries) != 0 {
		t.Errorf("audited: %v", h.audit.entries)
	}
}

func TestACancelWithdrawsWhatWaitsAndSignalsWhatRuns(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	waits, runs := h.submit(alice, echo), h.submit(alice, echo)
	h.ledger.set(runs, func(j *job.Job) { j.State = job.Active })
	for range 2 { // twice is fine
		if got := h.call("POST", "/v1/jobs/"+waits.String()+"/cancel", alice,
			"").want(200).json(); got["state"] != "canceled" {
			t.Errorf("%v", got)
		}
	}
	if got := h.call("POST", "/v1/jobs/"+runs.String()+"/cancel", alice,
		"").want(200).json(); got["cancel_requested_at"] == nil {
		t.Errorf("%v", got)
	}
	if !slices.Contains(h.dispatcher.withdrawn, waits) || !slices.Equal(h.dispatcher.signaled, []job.ID{runs}) {
		t.Errorf("withdrawn %v, signaled %v", h.dispatcher.withdrawn, h.dispatcher.signaled)
	}
}

func TestWhatTheStateForbidsIsAConflictThatNamesIt(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	h.ledger.set(id, func(j *job.Job) { j.State = job.Completed })
	for _, action := range []string{"/cancel", "/retry"} {
		if p := h.call("POST", "/v1/jobs/"+id.String()+action, alice, "").want(409).problem(); p.State != job.Completed {
			t.Errorf("%s: %+v", action, p)
		}
	}
}

func TestARetrySendsTheNextDelivery(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	h.ledger.set(id, func(j *job.Job) { j.State = job.Archived })
	h.call("POST", "/v1/jobs/"+id.String()+"/retry", alice, "").want(200)
	if last := h.dispatcher.sent[len(h.dispatcher.sent)-1]; last.JobID != id || last.Delivery != 2 {
		t.Errorf("sent %+v", last)
	}
}

func TestWhatOthersDoToAJobIsAudited(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	h.call("POST", "/v1/jobs/"+id.String()+"/cancel", alice, "").want(200)
	h.call("POST", "/v1/jobs/"+id.String()+"/cancel", operator, "", "User-Agent", "curl\x00").want(200)
	if len(h.audit.entries) != 1 {
		t.Fatalf("audited: %v", h.audit.entries)
	}
	e := h.audit.entries[0]
	if e.Action != "job.cancel" || e.Target != id.String() || e.Actor != "operator@example.com" ||
		e.IP != "192.0.2.1" ||
		e.RequestID == "" {
		t.Errorf("%+v", e)
	}
}

func TestAnOutageIsSaidPlainlyAndWithoutItsReason(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.ledger.err = job.Unavailable("the ledger does not answer", errors.New("dial 10.0.0.7: secret detail"))
	h.call("POST", "/v1/jobs", alice, echo).want(503)
	h.ledger.err = fmt.Errorf("select: %w", context.DeadlineExceeded)
	h.call("GET", "/v1/jobs", alice, "").want(503)
	h.ledger.err = errors.New("SELECT broke at store.go:12")
	if p := h.call("GET", "/v1/jobs", alice, "").want(500).problem(); p.Code != codeInternal {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{"secret detail", "SELECT broke"} {
		if strings.Count(h.log.String(), want) != 1 {
			t.Errorf("the log does not say once %q: %s", want, h.log)
		}
	}
}

func TestAWaitEndsWithTheJob(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	go func() {
		<-h.ledger.waiting
		h.ledger.set(id, func(j *job.Job) { j.State, j.Result = job.Completed, []byte(`{"n":  1.0}`) })
	}()
	a := h.call("GET", "/v1/jobs/"+id.String()+"?wait=60s", alice, "").want(200)
	if a.json()["state"] != "completed" || !strings.Contains(a.body, `{"n":  1.0}`) {
		t.Errorf("%s", a.body)
	}
	h.call("GET", "/v1/jobs/"+id.String()+"?wait=60s", alice, "").want(200) // finished: at once
}

func TestAWaitThatIsOverAnswersTheJobAsItIs(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo).String()
	if got := h.call("GET", "/v1/jobs/"+id+"?wait=1ms", alice, "").want(200).json()["state"]; got != "pending" {
		t.Errorf("state %v", got)
	}
	for _, wait := range []string{"-1s", "30", "soon", "", "1s&wait=2s"} {
		h.call("GET", "/v1/jobs/"+id+"?wait="+wait, alice, "").want(400)
	}
}

func TestAClientThatLeavesEndsItsWait(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo).String()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-h.ledger.waiting
		leave()
	}()
	req := h.request("GET", "/v1/jobs/"+id+"?wait=60s", alice, strings.NewReader("")).WithContext(ctx)
	rec := httptest.NewRecorder()
	h.api.Handler().ServeHTTP(rec, req)
	if rec.Code != statusClientGone || rec.Body.Len() != 0 {
		t.Errorf("status %d: %s", rec.Code, rec.Body)
	}
}

// nullLedger writes nothing down, to measure the API alone.
type nullLedger struct{ *fakeLedger }

func (nullLedger) Create(_ context.Context, s job.Submission) (job.Created, error) {
	return job.Created{
		Job: &job.Job{ID: s.ID, OwnerID: s.OwnerID, Type: s.Type, Queue: s.Queue, Payload: s.Payload, Labels: s.Labels,
			Policy: s.Policy, State: job.Held, RunAt: s.RunAt, CreatedAt: s.ID.Time()},
	}, nil
}

func BenchmarkCreate(b *testing.B) {
	auth := newFakeAuth()
	a, err := New(
		Config{Queues: []string{"default", "critical"}, Quota: QuotaConfig{RatePerSecond: 1e9, Burst: 1e9}},
		Deps{Auth: auth,
			Jobs: nullLedger{
				newFakeLedger(),
			}, Dispatcher: &fakeDispatcher{}, Audit: &fakeAudit{}, Tasks: testCatalogue(b),
			Log: slog.New(slog.NewJSONHandler(io.Discard, nil))},
	)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest("POST", "/v1/jobs", bytes.NewReader(benchBody))
		req.Header.Set("Authorization", "Bearer alice")
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		if a.Handler().ServeHTTP(rec, req); rec.Code != 202 {
			b.Fatal(rec.Body)
		}
	}
}
