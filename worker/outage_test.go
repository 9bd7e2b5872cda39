package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/tasks"
)

// A pool that has lost the ledger, while Redis is well, keeps no tasks from one that has both.
func TestAPoolWithoutTheLedgerGivesItsTasksBack(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*oneByOne, bool){
		"refused": func(l *oneByOne, on bool) { l.down.Store(on) },
		"silent":  func(l *oneByOne, on bool) { l.silent.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, map[string]Handler{"ok": ok})
			b.finished(b.submit("ok")) // it has begun
			lose(b.ledger, true)
			ids := make([]job.ID, 30)
			for i := range ids {
				ids[i] = b.submit("ok")
			}
			testenv.Eventually(
				t,
				30*time.Second,
				func() bool { return b.pool.Ready(t.Context()) != nil },
				"the pool is not ready",
			)
			client := b.client()
			testenv.Eventually(t, 10*time.Second, func() bool {
				return client.LLen(t.Context(), "asynq:{default}:active").Val() == 0 &&
					client.LLen(t.Context(), "asynq:{default}:pending").Val() == 30
			}, "the tasks are back")
			_, _ = b.another(func(*Config, *Deps) {})
			for _, id := range ids {
				if j := b.finished(id); j.State != job.Completed || j.Attempt != 1 || j.Delivery != 1 {
					t.Errorf("%s after %d attempts, delivery %d", j.State, j.Attempt, j.Delivery)
				}
			}
			testenv.Eventually(
				t,
				10*time.Second,
				func() bool { return len(client.Keys(t.Context(), "asynq:{default}:t:*").Val()) == 0 },
				"redis is clean",
			)
			lose(b.ledger, false)
			testenv.Eventually(
				t,
				20*time.Second,
				func() bool { return b.pool.Ready(t.Context()) == nil },
				"the pool is ready again",
			)
		})
	}
}

func TestAPoolGoesOnWhenTheLedgerIsBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"ok": ok})
	b.finished(b.submit("ok")) // it has begun
	b.ledger.down.Store(true)
	var ids []job.ID
	for range 25 {
		ids = append(ids, b.submit("ok"))
	}
	testenv.Eventually(
		t,
		30*time.Second,
		func() bool { return b.pool.Ready(t.Context()) != nil },
		"the pool is not ready",
	)
	b.ledger.down.Store(false)
	for _, id := range ids {
		if j := b.finished(id); j.State != job.Completed || j.Attempt != 1 {
			t.Errorf("%s after %d attempts", j.State, j.Attempt)
		}
	}
	if err := b.pool.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// client is a plain one on the bench's Redis.
func (b *bench) client() *redis.Client {
	b.Helper()
	opt, err := redis.ParseURL(b.url)
	if err != nil {
		b.Fatal(err)
	}
	c := redis.NewClient(opt)
	b.Cleanup(func() { c.Close() })
	return c
}

func TestAJobOfAnUnknownTypeWaitsForAWorkerThatKnowsIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"ok": ok})
	none := func(_ *Config, d *Deps) { d.Knows = func(taskType string) bool { return taskType != "new" } }
	b.stop() // of three workers none shall know it at first
	_, _ = b.another(none)
	_, _ = b.another(none)
	b.start(b.dispatcher.Run)
	id := b.submit("new")
	client := b.client()
	testenv.Eventually(
		t,
		20*time.Second,
		func() bool { return client.ZCard(t.Context(), "asynq:{default}:retry").Val() == 1 },
		"its task is put off",
	)
	if j := b.await(id, func(*job.Job) bool { return true }, ""); j.State != job.Pending || j.Attempt != 0 ||
		j.Failures != 0 ||
		j.Delivery != 1 {
		t.Errorf("meanwhile it is %s, attempt %d, %d failures, delivery %d", j.State, j.Attempt, j.Failures, j.Delivery)
	}
	b.handlers["new"] = ok
	_, _ = b.another(func(*Config, *Deps) {})
	// Each worker that does not know the type may meet the task once more before it gives way to
	// those that do.
	testenv.Eventually(t, time.Minute, func() bool {
		return b.await(id, func(*job.Job) bool { return true }, "").State.Finished()
	}, "the job is finished")
	j := b.finished(id)
	if j.State != job.Completed || j.Attempt != 1 || j.Failures != 0 || j.Delivery != 1 {
		t.Errorf("it ended %s, attempt %d, %d failures, delivery %d", j.State, j.Attempt, j.Failures, j.Delivery)
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

// lines answers those that hold all of the words.
func (l *logBuffer) lines(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

func TestEachFailedAttemptIsOneLineOfTheLog(t *testing.T) {
	t.Parallel()
	out := &logBuffer{}
	b := newBench(t, map[string]Handler{"ok": ok})
	b.stop()
	long := errors.New("no luck " + strings.Repeat("x", 5000))
	handlers := map[string]Handler{
		"ok":     ok,
		"always": func(context.Context, *job.Job) (json.RawMessage, error) { return nil, long },
		"permanent": func(context.Context, *job.Job) (json.RawMessage, error) {
			return nil, tasks.Permanent(errors.New("never"))
		},
	}
	_, _ = b.another(func(_ *Config, d *Deps) {
		d.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		d.Handler = func(ctx context.Context, j *job.Job) (json.RawMessage, error) { return handlers[j.Type](ctx, j) }
	})
	b.start(b.dispatcher.Run)
	secret := func(s *job.Submission) { s.Payload = []byte(`{"password":"hunter2"}`) }
	always, never, done := b.submit("always", secret), b.submit("permanent", secret), b.submit("ok", secret)
	for _, id := range []job.ID{always, never, done} {
		b.finished(id)
	}
	for _, c := range []struct {
		want  int
		words []string
	}{
		{2, []string{"level=WARN", "attempt failed", always.String(), "type=always", "no luck", "next="}},
		{1, []string{"level=ERROR", "job archived", always.String(), "attempt=3"}},
		{1, []string{"level=ERROR", "job archived", never.String(), "attempt=1", "never"}},
		{1, []string{"level=DEBUG", "attempt ended", done.String(), "state=completed"}},
		{0, []string{strings.Repeat("x", 400)}},
		{0, []string{"hunter2"}},
	} {
		testenv.Eventually(
			t,
			5*time.Second,
			func() bool { return out.lines(c.words...) == c.want },
			"%d lines with %q",
			c.want,
			c.words,
		)
	}
}

func TestAFloodOfFailuresWritesABoundedLog(t *testing.T) {
	t.Parallel()
	out := &logBuffer{}
	w := newAttemptLog(slog.New(slog.NewTextHandler(out, nil)))
	j := &job.Job{ID: job.NewID(), Type: "x"}
	for range 10 * attemptLogBurst {
		w.settled(
			j,
			job.Settled{State: job.Archived},
			&job.Settlement{Failed: true, Error: &job.AttemptError{Message: "no"}},
			0,
		)
	}
	if n := out.lines("job archived"); n < attemptLogBurst || n > 3*attemptLogBurst {
		t.Errorf("%d lines", n)
	}
	if w.skipped.Load() == 0 {
		t.Error("what was left out is not counted")
	}
}

// A task whose key lost its message or type, or whose message cannot be read, takes no slot and
// stops no other.
func TestBrokenTasksStopNoOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"ok": ok})
	b.stop()
	ctx, client := t.Context(), b.client()
	d, err := dispatch.New(dispatch.Config{}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	var all []*job.Job
	for i := range 40 {
		s := job.Submission{ID: job.NewID(), OwnerID: job.NewID(), Type: "ok", Queue: "default", Payload: []byte(`{}`),
			Policy: job.Policy{
				MaxRetries: 2,
				Timeout:    time.Minute,
				Backoff:    job.Backoff{Kind: job.Fixed, Base: time.Millisecond, Max: time.Millisecond},
			}}
		made, err := b.ledger.CreateAll(ctx, []job.Submission{s})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, made[0].Job)
		p := made[0].Job.Message()
		if i%2 == 1 {
			p.RunAt = time.Now().Add(2 * time.Second)
		}
		if err := d.SendNow(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	key := func(i int) string { return "asynq:{default}:t:" + job.TaskID(all[i].ID, 1) }
	for i := range 30 { // three times the slots
		switch i / 2 % 3 {
		case 0:
			client.HDel(ctx, key(i), "msg")
		case 1:
			client.HSet(ctx, key(i), "msg", "\xff\xfe no message")
		case 2:
			client.Del(ctx, key(i))
			client.Set(ctx, key(i), "x", 0)
		}
	}
	_, _ = b.another(func(*Config, *Deps) {})
	for _, j := range all[30:] {
		if now := b.finished(j.ID); now.State != job.Completed {
			t.Errorf("a sound job ended %s", now.State)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		return client.LLen(ctx, "asynq:{default}:pending").
			Val()+
			client.ZCard(ctx, "asynq:{default}:scheduled").
				Val() ==
			0
	}, "nothing blocks the queue")
}
