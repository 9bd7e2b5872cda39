package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/server/servertest"
	"github.com/waybill/waybill/tasks"
)

type sum struct {
	A int `json:"a"`
	B int `json:"b" jsonschema:"maximum=100"`
}

var add = tasks.Definition[sum, int]{
	Name: "math.add",
	Check: func(s sum) []tasks.FieldError {
		if s.A < 0 {
			return []tasks.FieldError{{Pointer: "/a", Detail: "must not be negative"}}
		}
		return nil
	},
}

func addHandler(ctx context.Context, j *tasks.Job[sum]) (int, error) {
	switch {
	case j.Payload.A == 7:
		return 0, tasks.Permanent(errors.New("seven is not added"))
	case j.Payload.A == 8:
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	tasks.Progress(ctx, 50, "half")
	return j.Payload.A + j.Payload.B, nil
}

func TestJobsOfADefinition(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), servertest.Start(t, server.New(add.Handle(addHandler)))

	j, err := client.Submit(
		ctx,
		c,
		add,
		sum{1, 2},
		client.Queue("low"),
		client.Label("of", "test"),
		client.MaxRetries(3),
		client.Timeout(time.Minute),
	)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := j.Wait(ctx); err != nil || result != 3 {
		t.Errorf("1 + 2 is %d, %v", result, err)
	}
	if j.Queue != "low" || j.Labels["of"] != "test" || j.MaxRetries != 3 || j.Timeout != time.Minute ||
		j.State != client.StateCompleted {
		t.Errorf("the job is %+v", j.JobInfo)
	}
	same, err := client.Get(ctx, c, add, j.ID)
	if err != nil || same.ID != j.ID {
		t.Errorf("it is read as %+v, %v", same, err)
	}

	j, err = client.Submit(ctx, c, add, sum{A: 7})
	if err != nil {
		t.Fatal(err)
	}
	var failed *client.JobError
	if _, err := j.Wait(ctx); !errors.As(err, &failed) || failed.State != client.StateArchived ||
		failed.Message != "seven is not added" {
		t.Errorf("a job that failed for good: %v", err)
	}
	if _, err := c.Retry(ctx, j.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Wait(ctx, j.ID); err != nil {
		t.Error(err)
	}

	j, err = client.Submit(ctx, c, add, sum{A: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Wait(ctx); !errors.As(err, &failed) || failed.State != client.StateCanceled {
		t.Errorf("a canceled job: %v", err)
	}
	if _, err := c.Cancel(ctx, same.ID); !client.IsConflict(err) {
		t.Errorf("to cancel a completed job: %v", err)
	}
	if _, err := c.Get(ctx, tasks.ID{1}); !client.IsNotFound(err) {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestMistakesAreNamedByTheirFields(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), servertest.Start(t, server.New(add.Handle(addHandler)))
	for _, test := range []struct {
		payload sum
		pointer string
		// The first before anything is sent, the second by the API.
	}{{sum{A: -1}, "/payload/a"}, {sum{B: 101}, "/payload/b"}} {
		_, err := client.Submit(ctx, c, add, test.payload)
		var refused *client.Error
		if !errors.As(err, &refused) || !client.IsInvalid(err) || len(refused.Fields) != 1 ||
			refused.Fields[0].Pointer != test.pointer {
			t.Errorf("%+v: %v", test.payload, err)
		}
	}
}

func TestListsAndBatches(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), servertest.Start(t, server.New(add.Handle(addHandler)))
	var b client.Batch
	var jobs []*client.Job[int]
	for i := range 5 {
		jobs = append(jobs, client.Add(&b, add, sum{i, i}, client.Label("n", fmt.Sprint(i))))
	}
	if err := b.Submit(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := b.Submit(ctx, c); err != nil { // again: the same jobs
		t.Fatal(err)
	}
	for i, j := range jobs {
		if result, err := j.Wait(ctx); err != nil || result != 2*i {
			t.Errorf("job %d: %d, %v", i, result, err)
		}
	}
	var listed []tasks.ID
	for j, err := range c.List(ctx, client.Filter{Type: add.Name, PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, j.ID)
	}
	if len(listed) != 5 || !slices.IsSortedFunc(listed, func(a, b tasks.ID) int { return slices.Compare(b[:], a[:]) }) {
		t.Errorf("listed are %v", listed)
	}
	n := 0
	for _, err := range c.List(ctx, client.Filter{Labels: map[string]string{"n": "3"}}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Errorf("%d jobs have the label", n)
	}
}

// A submission whose answer is lost, or that is refused for a moment, is sent again with the same
// key.
func TestASubmissionIsRepeatedWithTheSameKey(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var keys []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		_, _ = io.Copy(io.Discard, r.Body)
		switch len(keys) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler) // the answer is lost
		default:
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).
				Encode(map[string]any{"id": "0198c0de-0000-7000-8000-000000000001", "state": "pending"})
		}
	}))
	defer api.Close()
	c, err := client.New(api.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Submit(t.Context(), c, add, sum{1, 2}); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 3 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] {
		t.Errorf("the keys are %q", keys)
	}
	keys = nil
	if c, err = client.New(api.URL, "key", client.WithRetries(0)); err != nil {
		t.Fatal(err)
	}
	var refused *client.Error
	if _, err := client.Submit(t.Context(), c, add, sum{1, 2}); !errors.As(err, &refused) ||
		refused.Status != http.StatusServiceUnavailable {
		t.Errorf("without repetition: %v", err)
	}
}

func TestCallReachesWhatHasNoMethod(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), servertest.Start(t, server.New(add))
	var queues struct{ Data []struct{ Name string } }
	if err := c.Call(ctx, http.MethodGet, "/v1/queues", nil, &queues); err != nil || len(queues.Data) == 0 {
		t.Errorf("queues: %+v, %v", queues, err)
	}
	pause := map[string]string{"reason": "test"}
	if err := c.Call(ctx, http.MethodPost, "/v1/queues/low/pause", pause, nil); err != nil {
		t.Error(err)
	}
	if err := c.Call(ctx, http.MethodPost, "/v1/queues/none/pause", pause, nil); !client.IsNotFound(err) {
		t.Errorf("a queue that is not there: %v", err)
	}
	for _, path := range []string{"", "v1/queues", "@127.0.0.1:1/", ".example.com"} {
		if err := c.Call(ctx, http.MethodGet, path, nil, nil); err == nil || !strings.Contains(err.Error(), "slash") {
			t.Errorf("the path %q: %v", path, err)
		}
	}
}

// A request that may act twice is not repeated when its answer is lost.
func TestCallRepeatsReadsOnly(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer api.Close()
	c, err := client.New(api.URL, "key", client.WithRetries(1))
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]int32{http.MethodGet: 2, http.MethodPost: 1, http.MethodDelete: 1} {
		calls.Store(0)
		if err := c.Call(t.Context(), method, "/v1/queues", nil, nil); err == nil || calls.Load() != want {
			t.Errorf("%s: sent %d times, want %d: %v", method, calls.Load(), want, err)
		}
	}
}

func TestAKeyIsNotCarriedElsewhere(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }),
	)
	defer other.Close()
	api := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer api.Close()
	c, err := client.New(api.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), tasks.ID{}); err == nil {
		t.Error("a redirect is taken for an answer")
	}
	for _, url := range []string{"", "jobs.example.com", "ftp://x", "http://user:pass@x", "http://x?a=b"} {
		if _, err := client.New(url, "key"); err == nil {
			t.Errorf("%q is taken for the URL of a deployment", url)
		}
	}
}
