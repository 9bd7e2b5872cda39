package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/tasks"
)

// tally is a task type that notes each execution of each job.
type tally struct {
	mu   sync.Mutex
	runs map[string]int
	took time.Duration // of one execution
}

type tallyPayload struct {
	N int `json:"n"`
}

func (c *tally) types() []tasks.Type {
	d := tasks.Definition[tallyPayload, tallyPayload]{
		Name:        "test.tally",
		Description: "Notes that it ran.",
		Example:     tallyPayload{1},
	}
	return []tasks.Type{d.Handle(c.handle)}
}

func (c *tally) handle(_ context.Context, j *tasks.Job[tallyPayload]) (tallyPayload, error) {
	c.mu.Lock()
	c.runs[j.ID.String()]++
	c.mu.Unlock()
	if c.took > 0 {
		<-time.After(c.took)
	}
	return j.Payload, nil
}

// check holds that each of the jobs ran exactly once, and nothing else.
func (c *tally) check(t *testing.T, ids []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if n := c.runs[id]; n != 1 {
			t.Errorf("job %s ran %d times", id, n)
		}
	}
	if len(c.runs) != len(ids) {
		t.Errorf("%d jobs ran, %d were submitted", len(c.runs), len(ids))
	}
}

// tallied is a deployment that knows the task type of a tally.
func tallied(t *testing.T, environ ...string) (*bench, *tally) {
	t.Helper()
	b, c := newIdleBench(t, environ...), &tally{runs: map[string]int{}}
	b.types = c.types()
	return b, c
}

// submitMany submits n jobs of the tally, some at a time, and returns those that were accepted:
// all, and without waiting.
func (b *bench) submitMany(n int, members string) (ids []string) {
	b.Helper()
	c := client(b)
	var mu sync.Mutex
	eachDone(n, 16, func(i int) {
		began := time.Now()
		id, err := b.post(c, fmt.Sprintf(`{"type":"test.tally","payload":{"n":%d}%s}`, i, members))
		if err != nil {
			b.Errorf("job %d: %v", i, err)
			return
		}
		if took := time.Since(began); took > 5*time.Second {
			b.Errorf("job %d was accepted only after %v", i, took)
		}
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
	})
	return ids
}

// post submits one job as the administrator.
func (b *bench) post(c *http.Client, body string) (id string, err error) {
	req, err := http.NewRequestWithContext(
		b.Context(),
		http.MethodPost,
		"http://"+b.addr+"/v1/jobs",
		bytes.NewBufferString(body),
	)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+b.admin.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	var v view
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	return v.ID, err
}

// drained waits until the ledger has n jobs and all of them are completed.
func (b *bench) drained(n int, patience time.Duration) {
	b.Helper()
	l := b.ledger()
	testenv.EventuallyNoError(b, patience, func() error {
		open, err := l.OpenCounts(b.Context())
		if err == nil && len(open) > 0 {
			err = fmt.Errorf("open: %v", open)
		}
		return err
	}, "%d jobs are not finished", n)
	completed := 0
	f := job.Filter{State: job.Completed, Limit: 200}
	for {
		page, err := l.Jobs(b.Context(), f)
		if err != nil {
			b.Fatal(err)
		}
		if completed += len(page); len(page) < f.Limit {
			break
		}
		f.Before = page[len(page)-1].ID
	}
	if completed != n {
		b.Errorf("%d jobs are completed, want %d", completed, n)
	}
}

// forEachLedger runs f on a deployment of one process with each engine.
func forEachLedger(t *testing.T, f func(b *bench, c *tally)) {
	t.Parallel()
	for name, database := range map[string]func(t *testing.T) string{
		"PostgreSQL": func(t *testing.T) string { return testenv.Postgres(t) },
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "ledger.db") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c := tallied(t, "DATABASE_URL="+database(t), "REDIS_URL="+testenv.Redis(t).URL)
			b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
			f(b, c)
		})
	}
}

func TestAJobGoesAllItsWay(t *testing.T) {
	forEachLedger(t, func(b *bench, c *tally) {
		b.Run("to its end", func(t *testing.T) {
			b := b.in(t)
			id := b.submit(`{"type":"test.tally","payload":{"n": 7 },"queue":"critical","labels":{"k":"v"}}`)
			v := b.finished(id)
			if v.State != job.Completed || v.Attempt != 1 || v.Failures != 0 || string(v.Result) != `{"n":7}` ||
				string(v.Payload) != `{"n": 7 }` ||
				v.FinishedAt.Before(v.StartedAt) {
				t.Errorf("%+v", v)
			}
		})
		b.Run("through failures", func(t *testing.T) {
			b := b.in(t)
			v := b.finished(
				b.submit(
					`{"type":"debug.fail","payload":{"times":2,"message":"not yet"},"backoff":{"kind":"fixed","base":"100ms","max":"100ms"}}`,
				),
			)
			if v.State != job.Completed || v.Attempt != 3 || v.Failures != 2 || len(v.Errors) != 2 ||
				v.last() != "not yet" ||
				!v.Errors[0].Retryable ||
				string(v.Result) != `{"failures":2}` {
				t.Errorf("%+v", v)
			}
		})
		b.Run("to the archive when its retries are used up", func(t *testing.T) {
			b := b.in(t)
			v := b.finished(
				b.submit(
					`{"type":"debug.fail","payload":{"panic":true},"max_retries":1,"backoff":{"kind":"fixed","base":"100ms","max":"100ms"}}`,
				),
			)
			if v.State != job.Archived || v.Attempt != 2 || v.Failures != 2 ||
				!strings.Contains(v.last(), "failed as told") ||
				strings.Contains(v.last(), "goroutine") {
				t.Errorf("%+v", v)
			}
			again := b.ask(ask{method: "POST", path: "/v1/jobs/" + v.ID + "/retry", as: b.admin.key, media: "-"}).
				want(b, 200)
			if b.read(again, &v); v.State != job.Pending || v.Failures != 0 {
				t.Errorf("retried by hand: %+v", v)
			}
			if v = b.finished(v.ID); v.State != job.Archived || v.Attempt != 4 {
				t.Errorf("after that: %+v", v)
			}
		})
		b.Run("not before its time", func(t *testing.T) {
			b := b.in(t)
			at := time.Now().Add(1500 * time.Millisecond)
			id := b.submit(
				fmt.Sprintf(`{"type":"test.tally","payload":{"n":1},"run_at":%q}`, at.UTC().Format(time.RFC3339Nano)),
			)
			if v := b.job(id); v.State != job.Scheduled {
				t.Errorf("it is %s", v.State)
			}
			if v := b.finished(id); v.State != job.Completed || v.StartedAt.Before(at.Truncate(time.Millisecond)) {
				t.Errorf("due at %v: %+v", at, v)
			}
		})
		b.Run("no further when it is canceled while it waits", func(t *testing.T) {
			b := b.in(t)
			id := b.submit(`{"type":"test.tally","payload":{"n":1},"delay":"1s"}`)
			b.ask(ask{method: "POST", path: "/v1/jobs/" + id + "/cancel", as: b.admin.key, media: "-"}).want(b, 200)
			next := b.submit(`{"type":"test.tally","payload":{"n":1},"delay":"2500ms"}`)
			b.finished(next) // by then the canceled one would have run
			if v := b.job(id); v.State != job.Canceled || v.Attempt != 0 {
				t.Errorf("%+v", v)
			}
		})
		b.Run("no further when it is canceled while it runs", func(t *testing.T) {
			b := b.in(t)
			id := b.submit(`{"type":"debug.sleep","payload":{"duration":"1m"},"timeout":"2m"}`)
			b.becomes(id, job.Active)
			began := time.Now()
			b.ask(ask{method: "POST", path: "/v1/jobs/" + id + "/cancel", as: b.admin.key, media: "-"}).want(b, 200)
			if v := b.finished(id); v.State != job.Canceled || time.Since(began) > 30*time.Second {
				t.Errorf("after %v: %+v", time.Since(began), v)
			}
		})
		b.Run("while somebody waits for it", func(t *testing.T) {
			b := b.in(t)
			id := b.submit(`{"type":"debug.sleep","payload":{"duration":"1s"}}`)
			var v view
			r := b.ask(ask{path: "/v1/jobs/" + id + "?wait=20s", as: b.admin.key}).want(b, 200)
			if b.read(r, &v); v.State != job.Completed || r.took > 15*time.Second {
				t.Errorf("after %v: %+v", r.took, v)
			}
			id = b.submit(`{"type":"debug.sleep","payload":{"duration":"20s"}}`)
			r = b.ask(ask{path: "/v1/jobs/" + id + "?wait=200ms", as: b.admin.key}).want(b, 200)
			if b.read(r, &v); v.State.Finished() || r.took > 10*time.Second {
				t.Errorf("after %v: %+v", r.took, v)
			}
			b.ask(ask{method: "POST", path: "/v1/jobs/" + id + "/cancel", as: b.admin.key, media: "-"}).want(b, 200)
		})
	})
}

func TestABatchOfAThousandRunsOnceEach(t *testing.T) {
	forEachLedger(t, func(b *bench, c *tally) {
		items := make([]string, 1000)
		for i := range items {
			items[i] = fmt.Sprintf(`{"type":"test.tally","payload":{"n":%d}}`, i)
		}
		var made struct{ Data []view }
		b.read(
			b.ask(ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: "[" + strings.Join(items, ",") +
				"]"}).
				want(b, 202),
			&made,
		)
		var ids []string
		for _, v := range made.Data {
			ids = append(ids, v.ID)
		}
		b.drained(1000, 3*time.Minute)
		c.check(b.T, ids)
	})
}

func TestWorkersComeAndGoWhileJobsFlow(t *testing.T) {
	t.Parallel()
	b, c := tallied(t, newGround(t)...)
	c.took = 5 * time.Millisecond
	b.startAPI(app.Options{API: app.ServeAPI})
	b.startWorker()
	other := b.startWorker()
	flowing, done := make(chan struct{}), make(chan []string)
	go func() {
		first := b.submitMany(200, "")
		close(flowing)
		done <- append(first, b.submitMany(1800, "")...)
	}()
	<-flowing
	var ids []string
	restarts := 0
	for ids == nil {
		other.stop()
		other = b.startWorker()
		restarts++
		select {
		case ids = <-done:
		case <-time.After(100 * time.Millisecond): // it works for a moment
		}
	}
	b.drained(2000, 3*time.Minute)
	c.check(t, ids)
	t.Logf("%d restarts", restarts)
}
