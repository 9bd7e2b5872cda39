package cache

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func completed(taskType string) *job.Job {
	return &job.Job{ID: job.NewID(), OwnerID: job.NewID(), Type: taskType, Queue: "default", State: job.Completed,
		Payload: json.RawMessage(
			`{"b": 1.10,  "a":"<"}`,
		), Result: json.RawMessage(`[ 1 ]`), FinishedAt: time.Now().UTC().Truncate(time.Microsecond)}
}

// fresh is a cache that read nothing yet, of a process of its own.
func fresh(c redis.UniversalClient) *Jobs {
	return NewJobs(c, func(taskType string) bool { return taskType == "private" }, slog.New(slog.DiscardHandler))
}

func TestACompletedJobIsAnsweredAsItWas(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	client := r.Client(t)
	j, mine := completed("debug.echo"), fresh(client)
	if got := mine.Job(t.Context(), j.ID); got != nil {
		t.Fatalf("never kept, but answered: %+v", got)
	}
	mine.Keep(j)
	same := func(got *job.Job) bool {
		return got != nil && got.ID == j.ID && string(got.Payload) == string(j.Payload) &&
			string(got.Result) == string(j.Result) &&
			got.FinishedAt.Equal(j.FinishedAt)
	}
	if got := mine.Job(t.Context(), j.ID); !same(got) {
		t.Errorf("in this process: %+v", got)
	}
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return same(fresh(client).Job(t.Context(), j.ID)) },
		"other processes don't get it",
	)
	mine.Job(t.Context(), j.ID).State = job.Archived // the caller's own
	if got := mine.Job(t.Context(), j.ID); got.State != job.Completed {
		t.Errorf("a caller changed it to %s", got.State)
	}
}

func TestWhatCanChangeOrMustNotBeSeenIsNotKept(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	client := r.Client(t)
	large, private := completed("debug.echo"), completed("private")
	large.Payload = json.RawMessage(`"` + strings.Repeat("x", maxBytes) + `"`)
	list := []*job.Job{large, private}
	for _, s := range job.States {
		if s != job.Completed {
			j := completed("debug.echo")
			j.State = s
			list = append(list, j)
		}
	}
	c := fresh(client)
	for _, j := range list {
		c.Keep(j)
		if got := c.Job(t.Context(), j.ID); got != nil {
			t.Errorf("%s %s is answered", j.Type, j.State)
		}
	}
	marker := completed("debug.echo")
	c.Keep(marker)
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return client.Exists(t.Context(), prefix+marker.ID.String()).Val() == 1 },
		"nothing is kept",
	)
	if n := client.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("%d copies in Redis, want 1", n)
	}
}

func TestACopyOfAnotherJobOrStateIsNoAnswer(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	client := r.Client(t)
	j := completed("debug.echo")
	for _, text := range []string{"", "{", `{"Job":{}}`, `{"Job":{"ID":"` + j.ID.String() + `","State":"pending"}}`,
		`{"Job":{"ID":"` + job.NewID().String() + `","State":"completed"}}`} {
		if err := client.Set(t.Context(), prefix+j.ID.String(), text, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := fresh(client).Job(t.Context(), j.ID); got != nil {
			t.Errorf("%s is answered as %+v", text, got)
		}
	}
}

func TestAJobThatWasOpenIsSoonLookedForAgain(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	client := r.Client(t)
	now := time.Now()
	c := fresh(client)
	c.recent.now = func() time.Time { return now }
	j := completed("debug.echo")
	open := *j
	open.State = job.Pending
	c.Keep(&open)
	other := fresh(client)
	other.Keep(j)
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return client.Exists(t.Context(), prefix+j.ID.String()).Val() == 1 },
		"nothing is kept",
	)
	if c.Job(t.Context(), j.ID) != nil {
		t.Error("Redis was asked for what was open a moment ago")
	}
	now = now.Add(missingFor)
	if c.Job(t.Context(), j.ID) == nil {
		t.Error("Redis is not asked again")
	}
}

func TestWithoutRedisThisProcessRemembersAllTheSame(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	c, j := fresh(client), completed("debug.echo")
	if c.Job(t.Context(), j.ID) != nil {
		t.Error("answered from nowhere")
	}
	c.Keep(j)
	if c.Job(t.Context(), j.ID) == nil {
		t.Error("forgotten")
	}
}

func TestWhatIsRememberedIsBoundedAndForgottenInTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := newLocalCache(func() time.Time { return now })
	first := completed("debug.echo")
	r.keep(first)
	for range 10_000 {
		r.keep(completed("debug.echo"))
		r.missing(job.NewID())
	}
	if j, _ := r.get(first.ID); j != nil {
		t.Error("the oldest is still there")
	}
	if n := len(r.young) + len(r.old); n > 2*recentBytes/noteBytes || r.bytes > recentBytes {
		t.Errorf("%d jobs, %d bytes", n, r.bytes)
	}
	big := completed("debug.echo")
	big.Result = json.RawMessage(`"` + strings.Repeat("x", entry) + `"`)
	if r.keep(big); r.bytes > recentBytes {
		t.Errorf("%d bytes", r.bytes)
	}
	if j, _ := r.get(big.ID); j != nil {
		t.Error("a large job is remembered")
	}
	last := completed("debug.echo")
	r.keep(last)
	if j, _ := r.get(last.ID); j == nil {
		t.Error("the newest is forgotten")
	}
	now = now.Add(keepFor)
	if j, missing := r.get(last.ID); j != nil || missing {
		t.Error("remembered for longer than Redis would")
	}
}
