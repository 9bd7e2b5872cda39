package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
	"github.com/waybill/waybill/tasks"
)

// oneByOne is the store as a pool sees it, with means to lose answers.
type oneByOne struct {
	*store.Store
	loseClaims  atomic.Int32 // answers to claims still to be lost
	loseSettles atomic.Int32
	refuse      atomic.Pointer[refuser]       // what the ledger says of settlements in place of taking them
	stallLast   atomic.Bool                   // the heartbeat of a pool that stops hangs on its way
	down        atomic.Bool                   // the ledger is out of this pool's reach
	silent      atomic.Bool                   // it does not even refuse
	cut         atomic.Pointer[job.Heartbeat] // one that hung and was broken off: it reaches the ledger after Leave
}

var errLostAnswer = job.Unavailable("the answer was lost", nil)

func (l *oneByOne) unreachable(ctx context.Context) error {
	if l.silent.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if l.down.Load() {
		return job.Unavailable("the ledger does not answer", nil)
	}
	return nil
}

func (l *oneByOne) Claim(ctx context.Context, r job.ClaimRequest) (job.Claim, error) {
	if err := l.unreachable(ctx); err != nil {
		return job.Claim{}, err
	}
	out, err := l.Store.Claim(ctx, []job.ClaimRequest{r})
	if err != nil || l.loseClaims.Add(-1) >= 0 {
		return job.Claim{}, errors.Join(err, errLostAnswer)
	}
	return out[0], nil
}

// refuser answers the error that a settlement meets, or nil.
type refuser func(*job.Settlement) error

func (l *oneByOne) Settle(ctx context.Context, s *job.Settlement) (job.Settled, error) {
	if r := l.refuse.Load(); r != nil {
		if err := (*r)(s); err != nil {
			return job.Settled{}, err
		}
	}
	out, err := l.Store.Settle(ctx, []*job.Settlement{s})
	if err != nil || l.loseSettles.Add(-1) >= 0 {
		return job.Settled{}, errors.Join(err, errLostAnswer)
	}
	return out[0], nil
}

func (l *oneByOne) Heartbeat(ctx context.Context, b job.Heartbeat) (job.HeartbeatReply, error) {
	if err := l.unreachable(ctx); err != nil {
		return job.HeartbeatReply{}, err
	}
	if !b.Stopping || !l.stallLast.Swap(false) {
		return l.Store.Heartbeat(ctx, b)
	}
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.Canceled) {
		l.cut.Store(&b)
	}
	return job.HeartbeatReply{}, ctx.Err()
}

func (l *oneByOne) RemoveWorker(ctx context.Context, worker job.ID) error {
	err := l.Store.RemoveWorker(ctx, worker)
	if b := l.cut.Load(); b != nil {
		_, late := l.Store.Heartbeat(ctx, *b)
		err = errors.Join(err, late)
	}
	return err
}

// bench is a pool with a ledger and a Redis of its own. Handlers are looked up by the job's type.
type bench struct {
	*testing.T
	ledger     *oneByOne
	dispatcher *dispatch.Dispatcher
	handlers   map[string]Handler
	url        string // of Redis
	pool       *Pool
	stop       func()
}

func newBench(t *testing.T, handlers map[string]Handler) *bench {
	t.Helper()
	s, err := store.Open(
		t.Context(),
		store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "l.db"), Log: testenv.Logger(t)},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := testenv.Redis(t).URL
	client, err := redisx.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	d, err := dispatch.New(dispatch.Config{}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, ledger: &oneByOne{Store: s}, dispatcher: d, handlers: handlers, url: url}
	b.pool = b.newPool(client, func(*Config, *Deps) {})
	b.start(d.Run, b.pool.Run)
	return b
}

func (b *bench) newPool(client redis.UniversalClient, change func(*Config, *Deps)) *Pool {
	b.Helper()
	cfg := Config{ID: job.NewID(), Queues: map[string]int{"default": 3, "low": 1}, Concurrency: 10,
		Grace: 200 * time.Millisecond, CancelGrace: 300 * time.Millisecond, WakeUpChannel: asynqredis.WakeUpChannel,
		CancelChannel: asynqredis.CancelChannel}
	deps := Deps{
		Ledger:     b.ledger,
		Dispatcher: b.dispatcher,
		Handler:    b.handle,
		Redis:      client,
		Pipelined:  client,
		Log:        testenv.Logger(b.T),
	}
	change(&cfg, &deps)
	p, err := New(cfg, deps)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// another starts a second pool on the same ledger and Redis, changed as told, with a line to the
// ledger of its own.
func (b *bench) another(change func(*Config, *Deps)) (*Pool, *oneByOne) {
	b.Helper()
	client, err := redisx.Connect(b.url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	line := &oneByOne{Store: b.ledger.Store}
	p := b.newPool(client, func(c *Config, d *Deps) { d.Ledger = line; change(c, d) })
	first := b.stop
	b.start(p.Run)
	second := b.stop
	b.stop = func() { second(); first() }
	return p, line
}

func (b *bench) start(loops ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, l := range loops {
		wg.Go(func() {
			if err := l(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	b.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	b.Cleanup(b.stop)
}

func (b *bench) handle(ctx context.Context, j *job.Job) (json.RawMessage, error) {
	return b.handlers[j.Type](ctx, j)
}

func (b *bench) submit(kind string, change ...func(*job.Submission)) job.ID {
	b.Helper()
	s := job.Submission{
		ID:      job.NewID(),
		OwnerID: job.NewID(),
		Type:    kind,
		Queue:   "default",
		Payload: []byte(`{"n": 1.0}`),
		Policy: job.Policy{
			MaxRetries: 2,
			Timeout:    time.Minute,
			Backoff:    job.Backoff{Kind: job.Fixed, Base: time.Millisecond, Max: time.Millisecond},
		},
	}
	for _, c := range change {
		c(&s)
	}
	made, err := b.ledger.CreateAll(b.Context(), []job.Submission{s})
	if err != nil {
		b.Fatal(err)
	}
	b.dispatcher.Send(made[0].Job.Message())
	return s.ID
}

func (b *bench) await(id job.ID, ok func(*job.Job) bool, what string) *job.Job {
	b.Helper()
	var j *job.Job
	testenv.Eventually(b.T, 20*time.Second, func() bool {
		var err error
		if j, err = b.ledger.Job(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		return ok(j)
	}, "%s", what)
	return j
}

func (b *bench) finished(id job.ID) *job.Job {
	b.Helper()
	return b.await(id, func(j *job.Job) bool { return j.State.Finished() }, "the job is finished")
}

func ok(context.Context, *job.Job) (json.RawMessage, error) {
	return json.RawMessage(`{ "ok":1.0 }`), nil
}

// until blocks a handler until its context ends.
func until(ctx context.Context, _ *job.Job) (json.RawMessage, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestEveryWayAHandlerCanEnd(t *testing.T) {
	t.Parallel()
	var snoozed atomic.Bool
	b := newBench(t, map[string]Handler{
		"ok":     ok,
		"always": func(context.Context, *job.Job) (json.RawMessage, error) { return nil, errors.New("no luck") },
		"once": func(_ context.Context, j *job.Job) (json.RawMessage, error) {
			return nil, firstTime(j, errors.New("no luck"))
		},
		"permanent": func(context.Context, *job.Job) (json.RawMessage, error) {
			return nil, tasks.Permanent(errors.New("never"))
		},
		"panic": func(context.Context, *job.Job) (json.RawMessage, error) { panic("boom") },
		"goexit": func(context.Context, *job.Job) (json.RawMessage, error) {
			runtime.Goexit()
			return nil, nil
		},
		"after": func(_ context.Context, j *job.Job) (json.RawMessage, error) {
			return nil, firstTime(j, tasks.RetryAfter(errors.New("busy"), time.Second))
		},
		"until": until,
		"snooze": func(context.Context, *job.Job) (json.RawMessage, error) {
			if snoozed.Swap(true) {
				return nil, nil
			}
			return nil, tasks.Snooze(10 * time.Millisecond)
		},
	})
	for _, c := range []struct {
		kind              string
		change            func(*job.Submission)
		state             job.State
		attempt, failures int
		message           string
	}{
		{"ok", nil, job.Completed, 1, 0, ""},
		{"always", nil, job.Archived, 3, 3, "no luck"},
		{"once", nil, job.Completed, 2, 1, "no luck"},
		{"permanent", nil, job.Archived, 1, 1, "never"},
		{"panic", func(s *job.Submission) { s.MaxRetries = 0 }, job.Archived, 1, 1, "panic: boom"},
		{"goexit", func(s *job.Submission) { s.MaxRetries = 0 }, job.Archived, 1, 1, "the handler ended its goroutine"},
		{"after", nil, job.Completed, 2, 1, "busy"},
		{"snooze", nil, job.Completed, 2, 0, ""},
		{"until", func(s *job.Submission) { s.Timeout, s.MaxRetries = 100*time.Millisecond, 0 }, job.Archived, 1, 1,
			"timed out after 100ms"},
		{"until", func(s *job.Submission) { s.Deadline = time.Now().Add(300 * time.Millisecond) }, job.Archived, 1, 1,
			"its deadline passed"},
		{"ok", func(s *job.Submission) { s.Deadline = time.Now().Add(-time.Second) }, job.Archived, 1, 1,
			"its deadline passed"},
	} {
		t.Run(fmt.Sprint(c.kind, " ", c.state), func(t *testing.T) {
			change := c.change
			if change == nil {
				change = func(*job.Submission) {}
			}
			j := b.finished(b.submit(c.kind, change))
			if j.State != c.state || j.Attempt != c.attempt || j.Failures != c.failures {
				t.Errorf("%s after %d attempts and %d failures: %+v", j.State, j.Attempt, j.Failures, j.Errors)
			}
			if c.message != "" && (len(j.Errors) == 0 || j.Errors[len(j.Errors)-1].Message != c.message) {
				t.Errorf("it says %+v, want %q", j.Errors, c.message)
			}
			if c.kind == "panic" && j.Errors[0].Stack == "" {
				t.Error("the panic's stack is not kept")
			}
			if c.kind == "ok" && c.state == job.Completed && string(j.Result) != `{ "ok":1.0 }` {
				t.Errorf("the result is %s", j.Result)
			}
		})
	}
}

func firstTime(j *job.Job, err error) error {
	if j.Attempt == 1 {
		return err
	}
	return nil
}

func TestNoJobStartsBeforeItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"ok": ok})
	at := time.Now().Add(1200 * time.Millisecond)
	j := b.finished(b.submit("ok", func(s *job.Submission) { s.RunAt = at }))
	if j.StartedAt.Before(at.Truncate(time.Microsecond)) || j.StartedAt.Sub(at) > 2500*time.Millisecond {
		t.Errorf("a job for %s began %s", at, j.StartedAt)
	}
}

func TestACancelReachesARunningHandlerWithoutASignal(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"until": until})
	id := b.submit("until")
	b.await(id, func(j *job.Job) bool { return j.State == job.Active }, "the job runs")
	if _, err := b.ledger.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if j := b.finished(id); j.State != job.Canceled {
		t.Errorf("it ended %s", j.State)
	}
}

func TestAHandlerThatIgnoresItsContextIsLeftToItself(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := newBench(
		t,
		map[string]Handler{
			"stubborn": func(context.Context, *job.Job) (json.RawMessage, error) { <-release; return nil, nil },
		},
	)
	defer close(release)
	j := b.finished(b.submit("stubborn", func(s *job.Submission) { s.Timeout, s.MaxRetries = 100*time.Millisecond, 0 }))
	if j.State != job.Archived {
		t.Errorf("it ended %s", j.State)
	}
	testenv.Eventually(t, 5*time.Second, func() bool { return b.pool.Active() == 0 }, "its slot is free")
}

func TestAStoppingPoolHandsBackWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"until": until})
	id := b.submit("until")
	b.await(id, func(j *job.Job) bool { return j.State == job.Active }, "the job runs")
	b.stop()
	j := b.await(id, func(j *job.Job) bool { return true }, "")
	if j.State != job.Pending || j.Delivery != 2 || j.Failures != 0 || j.Interruptions != 1 {
		t.Errorf(
			"it is %s, delivery %d, %d failures, %d interruptions",
			j.State,
			j.Delivery,
			j.Failures,
			j.Interruptions,
		)
	}
	workers, err := b.ledger.Workers(t.Context())
	if err != nil || len(workers) != 0 {
		t.Errorf("heartbeat rows left: %v, %v", workers, err)
	}
}

func TestNoHeartbeatOutlivesAStoppedPool(t *testing.T) {
	t.Parallel()
	var b *bench
	for range 10 { // on a busy machine a pool may stop before it sends its last heartbeat
		b = newBench(t, map[string]Handler{"until": until})
		id := b.submit("until")
		b.await(id, func(j *job.Job) bool { return j.State == job.Active }, "the job runs")
		b.ledger.stallLast.Store(true)
		b.stop()
		if !b.ledger.stallLast.Load() {
			break
		}
	}
	if b.ledger.stallLast.Load() {
		t.Fatal("no pool sent a heartbeat as it stopped")
	}
	if workers, err := b.ledger.Workers(t.Context()); err != nil || len(workers) != 0 {
		t.Errorf("heartbeat rows left: %v, %v", workers, err)
	}
}

func TestAStoppingPoolLetsHandlersFinish(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}), make(chan struct{})
	b := newBench(
		t,
		map[string]Handler{
			"slow": func(context.Context, *job.Job) (json.RawMessage, error) {
				close(started)
				<-release
				return nil,
					nil
			},
		},
	)
	id := b.submit("slow")
	<-started
	b.pool.stopping.Store(true) // as drain does first
	close(release)
	b.stop()
	if j := b.finished(id); j.State != job.Completed || j.Attempt != 1 {
		t.Errorf("it ended %s after %d attempts", j.State, j.Attempt)
	}
}

func TestAnOutcomeIsSentUntilTheLedgerHasIt(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	b := newBench(
		t,
		map[string]Handler{
			"ok": func(context.Context, *job.Job) (json.RawMessage, error) { runs.Add(1); return nil, nil },
		},
	)
	b.ledger.loseSettles.Store(3)
	j := b.finished(b.submit("ok"))
	testenv.Eventually(t, 5*time.Second, func() bool { return b.pool.Active() == 0 }, "the pool is at rest")
	if j.State != job.Completed || runs.Load() != 1 || b.pool.Late() != 0 {
		t.Errorf("%s after %d runs, %d late", j.State, runs.Load(), b.pool.Late())
	}
}

// Whatever the ledger says of a settlement, the handler's word is kept until it is taken.
func TestNoErrorOfTheLedgerChangesAnOutcome(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	b := newBench(t, map[string]Handler{"ok": func(context.Context, *job.Job) (json.RawMessage, error) {
		runs.Add(1)
		return json.RawMessage(`1`), nil
	}})
	var refused atomic.Int32
	errs := []error{
		errors.New("a bug"),
		&job.Error{Code: job.CodeUnavailable, Fault: job.FaultStatement},
		&job.Error{Code: job.CodeUnavailable, Fault: job.FaultContent},
		job.Unavailable("gone", nil),
		&job.Error{Code: job.CodeInvalid, Message: "wrong"},
	}
	r := refuser(func(*job.Settlement) error {
		if n := int(refused.Add(1)); n <= len(errs) {
			return errs[n-1]
		}
		return nil
	})
	b.ledger.refuse.Store(&r)
	j := b.finished(b.submit("ok"))
	if j.State != job.Completed || string(j.Result) != "1" || runs.Load() != 1 || len(j.Errors) != 0 {
		t.Errorf("it ended %s with %q after %d runs: %+v", j.State, j.Result, runs.Load(), j.Errors)
	}
}

// A result that the ledger refuses, alone and for long, is left out: the job is what its handler
// said.
func TestAResultThatTheLedgerRefusesIsLeftOut(t *testing.T) {
	t.Parallel()
	b := newBench(
		t,
		map[string]Handler{
			"ok": func(context.Context, *job.Job) (json.RawMessage, error) { return json.RawMessage(`"poison"`), nil },
		},
	)
	r := refuser(func(s *job.Settlement) error {
		if s.Result == nil {
			return nil
		}
		return &job.Error{Code: job.CodeUnavailable, Message: "not this", Fault: job.FaultContent}
	})
	b.ledger.refuse.Store(&r)
	id := b.submit("ok")
	var j *job.Job
	testenv.Eventually(t, 2*time.Minute, func() bool {
		j = b.await(id, func(*job.Job) bool { return true }, "")
		return j.State.Finished()
	}, "it ends")
	if took := j.FinishedAt.Sub(j.StartedAt); j.State != job.Completed || j.Result != nil || len(j.Errors) != 1 ||
		took < refusalWindow {
		t.Errorf("it ended %s with %q after %v: %+v", j.State, j.Result, took, j.Errors)
	}
}

func TestAClaimWhoseAnswerWasLostIsHandedBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"ok": ok})
	b.ledger.loseClaims.Store(1)
	id := b.submit("ok")
	j := b.await(id, func(j *job.Job) bool { return j.Delivery == 2 }, "it is handed back")
	b.dispatcher.Send(j.Message()) // the reconciler's part
	if j = b.finished(id); j.State != job.Completed || j.Failures != 0 || j.Attempt != 2 {
		t.Errorf("%s after %d attempts and %d failures", j.State, j.Attempt, j.Failures)
	}
}

func TestAJobThatWasGivenToAnotherEndsHere(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"until": until})
	id := b.submit("until")
	j := b.await(id, func(j *job.Job) bool { return j.State == job.Active }, "the job runs")
	// The reconciler takes it back and another worker claims it, as if this pool had been silent.
	other := job.NewID()
	if out, err := b.ledger.Store.Settle(t.Context(),
		[]*job.Settlement{{JobID: id, Attempt: j.Attempt, WorkerID: b.pool.cfg.ID, State: job.Pending}}); err != nil ||
		!out[0].Accepted {
		t.Fatal(out, err)
	}
	if c, err := b.ledger.Store.Claim(t.Context(),
		[]job.ClaimRequest{{JobID: id, Delivery: 2, WorkerID: other}}); err != nil ||
		c[0].Decision != job.Run {
		t.Fatal(c, err)
	}
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return b.pool.Active() == 0 && b.pool.Late() == 1 },
		"the handler ends and its outcome is refused",
	)
	if now := b.await(id, func(*job.Job) bool { return true }, ""); now.State != job.Active ||
		now.Worker != other.String() {
		t.Errorf("the new owner lost it: %+v", now)
	}
}

func TestProgressIsWrittenDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]Handler{"slow": func(ctx context.Context, _ *job.Job) (json.RawMessage, error) {
		tasks.Progress(ctx, 40, "copying")
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	id := b.submit("slow")
	j := b.await(id, func(j *job.Job) bool { return j.Progress != nil }, "progress is there")
	if j.Progress.Percent != 40 || j.Progress.Message != "copying" {
		t.Errorf("it says %+v", j.Progress)
	}
}
