package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/reconcile"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
)

// TestThePromiseHolds plays random orders of submit, send, take, claim, settle, crash, answer,
// loss, reconcile, cancel and retry by hand against the real store (SQLite), the real dispatcher
// and the real reconciler, on a real Redis that may forget any suffix of its log: its whole content
// is copied at every step, and an earlier copy can be put back. Workers are played: they take tasks
// as asynq's scripts do.
//
// It covers the three fences, the watermark, orphans, stuck tasks, and the table of state changes.
// After every step:
//   - every change of state is in the table of package job;
//   - no job is given to a worker while a living one holds it, and attempt numbers rise;
//   - a job that was canceled while it waited is given to no worker;
//   - failures counted are failures that happened: no fault uses up a retry;
//   - an outcome stands, until a retry by hand.
//
// And once the faults end, everything finishes, and fsck finds nothing.
//
// It does not cover what only real processes can show: timeouts, the heartbeat's clock, connections
// that break between command and reply (chaos/ does), PostgreSQL's visibility rules, and group
// commit.
func TestThePromiseHolds(t *testing.T) {
	t.Parallel()
	client, err := redisx.Connect(testenv.Redis(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		w := newWorld(t, rt, client, filepath.Join(dir, fmt.Sprint(n, ".db")))
		defer w.s.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"submit": w.submit, "send": w.send, "take": w.take, "settle": w.settleOne, "crash": w.crash, "late": w.late,
			"forward": w.forwardAll,
			"forget":  w.forget, "audit": w.auditPass, "orphans": w.orphans, "cancel": w.cancel, "retry": w.retry,
			"": w.invariants,
		})
		w.drain()
	})
}

// held is an attempt that a played worker believes to have.
type held struct {
	worker job.ID
	job    *job.Job
}

type world struct {
	t          *rapid.T
	ctx        context.Context
	s          *Store
	d          *dispatch.Dispatcher
	reconciler *reconcile.Reconciler
	redis      redis.UniversalClient

	judge    job.ID
	workers  []job.ID            // that beat
	jobs     map[job.ID]*job.Job // as last seen
	unsent   []job.Message       // on their way to Redis when the process dies
	holding  []held              // by living workers
	dead     []held              // by workers that crashed; some come back late
	failures map[job.ID]int      // that really happened, since the last retry by hand
	history  []map[string]string // Redis's content, step by step
}

func newWorld(t *testing.T, rt *rapid.T, client redis.UniversalClient, path string) *world {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	client.FlushAll(ctx)
	s, err := Open(ctx, Config{URL: "sqlite:" + path, Log: log})
	noError(rt, err)
	_, err = s.Migrate(ctx)
	noError(rt, err)
	d, err := dispatch.New(dispatch.Config{}, client, log)
	noError(rt, err)
	w := &world{t: rt, ctx: ctx, s: s, d: d, redis: client, workers: []job.ID{job.NewID(), job.NewID()},
		jobs: map[job.ID]*job.Job{}, failures: map[job.ID]int{}}
	w.judge = standingJudge(t, s)
	w.reconciler, err = reconcile.New(reconcile.Config{
		Queues:   []string{"default"},
		WorkerID: w.judge,
		Grace:    time.Nanosecond,
		Overdue:  time.Nanosecond,
	}, s, d, client, log)
	noError(rt, err)
	return w
}

func noError(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) submit(t *rapid.T) {
	sub := submission(func(s *job.Submission) {
		s.MaxRetries = 50
		if rapid.Bool().Draw(t, "ahead") {
			s.RunAt = time.Now().Add(10 * time.Millisecond)
		}
	})
	made, err := w.s.CreateAll(w.ctx, []job.Submission{sub})
	noError(t, err)
	w.jobs[sub.ID] = made[0].Job
	w.unsent = append(w.unsent, made[0].Job.Message())
}

// send lets one message arrive, or loses it with its process.
func (w *world) send(t *rapid.T) {
	if len(w.unsent) == 0 {
		t.Skip("nothing to send")
	}
	i := rapid.IntRange(0, len(w.unsent)-1).Draw(t, "message")
	p := w.unsent[i]
	w.unsent = slices.Delete(w.unsent, i, i+1)
	if rapid.IntRange(0, 2).Draw(t, "arrives") > 0 {
		noError(t, w.d.SendNow(w.ctx, p))
	}
}

const prefix = "asynq:{default}:"

// take is a worker that takes a task and claims its job; or dies in between, or loses the reply.
func (w *world) take(t *rapid.T) {
	id, err := w.redis.RPopLPush(w.ctx, prefix+"pending", prefix+"active").Result()
	if err == redis.Nil {
		t.Skip("no task is pending")
	}
	noError(t, err)
	w.redis.HSet(w.ctx, prefix+"t:"+id, "state", "active")
	if rapid.IntRange(0, 4).Draw(t, "reply arrives") == 0 {
		w.lapse(id)
		return
	}
	w.lease(id, 30*time.Second)
	w.claim(t, id)
}

func (w *world) lease(id string, left time.Duration) {
	w.redis.ZAdd(w.ctx, prefix+"lease", redis.Z{Score: float64(time.Now().Add(left).Unix()), Member: id})
}

// lapse lets a lease expire.
func (w *world) lapse(id string) { w.lease(id, time.Second) }

func (w *world) claim(t *rapid.T, task string) {
	id, delivery, err := job.ParseTaskID(task)
	noError(t, err)
	worker := rapid.SampledFrom(w.workers).Draw(t, "worker")
	_, err = w.s.Heartbeat(w.ctx, job.Heartbeat{WorkerID: worker})
	noError(t, err)
	claims, err := w.s.Claim(w.ctx, []job.ClaimRequest{{JobID: id, Delivery: delivery, WorkerID: worker}})
	noError(t, err)
	switch claims[0].Decision {
	case job.Run:
		w.given(t, held{worker, claims[0].Job})
	case job.Postpone:
		w.answer(task, "retry")
	default:
		w.answer(task, "")
	}
}

func (w *world) given(t *rapid.T, h held) {
	before := w.jobs[h.job.ID]
	if before.State.Finished() {
		t.Fatalf("%s was given to a worker though it is %s", h.job.ID, before.State)
	}
	if slices.ContainsFunc(w.holding, func(o held) bool { return o.job.ID == h.job.ID }) {
		t.Fatalf("%s was given to a worker while another one holds it", h.job.ID)
	}
	if h.job.Attempt <= before.Attempt {
		t.Fatalf("attempt %d of %s came after attempt %d", h.job.Attempt, h.job.ID, before.Attempt)
	}
	w.jobs[h.job.ID] = w.read(h.job.ID)
	w.holding = append(w.holding, h)
}

// answer is what a worker tells asynq in the end: done, or bring it again.
func (w *world) answer(task, zset string) {
	w.redis.LRem(w.ctx, prefix+"active", 0, task)
	w.redis.ZRem(w.ctx, prefix+"lease", task)
	if zset == "" {
		w.redis.Del(w.ctx, prefix+"t:"+task)
		return
	}
	if w.redis.Exists(w.ctx, prefix+"t:"+task).Val() == 1 {
		w.redis.HSet(w.ctx, prefix+"t:"+task, "state", zset)
		w.redis.ZAdd(w.ctx, prefix+zset, redis.Z{Score: float64(time.Now().Unix()), Member: task})
	}
}

func (w *world) settleOne(t *rapid.T) {
	if len(w.holding) == 0 {
		t.Skip("nobody holds anything")
	}
	i := rapid.IntRange(0, len(w.holding)-1).Draw(t, "attempt")
	h := w.holding[i]
	w.holding = slices.Delete(w.holding, i, i+1)
	w.settle(
		t,
		h,
		rapid.SampledFrom([]job.State{job.Completed, job.Retry, job.Archived, job.Scheduled, job.Pending}).
			Draw(t, "outcome"),
	)
}

func (w *world) settle(t *rapid.T, h held, state job.State) {
	set := settlement(h.job, h.worker, state)
	if set.Failed = state == job.Retry || state == job.Archived; set.Failed {
		set.Error = &job.AttemptError{Message: "no"}
	}
	if state == job.Retry || state == job.Scheduled {
		set.Wait = time.Millisecond
	}
	out, err := w.s.Settle(w.ctx, []*job.Settlement{&set})
	noError(t, err)
	task := job.TaskID(h.job.ID, h.job.Delivery)
	if !out[0].Accepted {
		w.answer(task, "")
		return
	}
	if now := w.jobs[h.job.ID]; h.job.Attempt != now.Attempt {
		t.Fatalf(
			"the outcome of attempt %d of %s was taken, attempt %d is the newest",
			h.job.Attempt,
			now.ID,
			now.Attempt,
		)
	}
	// It was lost: the worker sends the same again.
	if rapid.IntRange(0, 3).Draw(t, "answer of the ledger arrives") == 0 {
		again, err := w.s.Settle(w.ctx, []*job.Settlement{&set})
		noError(t, err)
		if !again[0].Accepted || again[0].Delivery != out[0].Delivery {
			t.Fatalf("sent twice, the outcome of %s is %+v, and was %+v", h.job.ID, again[0], out[0])
		}
	}
	switch n := w.read(h.job.ID).Failures; {
	// It had been handed back before, and ended as canceled then.
	case out[0].State == job.Canceled && n == w.failures[h.job.ID]:
	case set.Failed:
		w.failures[h.job.ID]++
	}
	if rapid.IntRange(0, 4).Draw(t, "answer arrives") == 0 { // the worker dies before asynq hears of it
		w.lapse(task)
		return
	}
	switch out[0].State {
	case job.Retry, job.Scheduled:
		w.answer(task, "retry")
	case job.Pending:
		j := w.read(h.job.ID)
		w.unsent = append(w.unsent, j.Message())
		w.answer(task, "")
	default:
		w.answer(task, "")
	}
}

// crash is a worker that falls silent with all that it holds: its heartbeat row goes stale, which
// Leave stands for. Once it beats again, it does not know of what it held.
func (w *world) crash(t *rapid.T) {
	if len(w.holding) == 0 {
		t.Skip("nobody holds anything")
	}
	worker := w.holding[rapid.IntRange(0, len(w.holding)-1).Draw(t, "victim")].worker
	noError(t, w.s.RemoveWorker(w.ctx, worker))
	w.holding = slices.DeleteFunc(w.holding, func(h held) bool {
		if h.worker == worker {
			w.dead = append(w.dead, h)
			w.lapse(job.TaskID(h.job.ID, h.job.Delivery))
		}
		return h.worker == worker
	})
}

// late is a worker that was thought dead and comes back with an outcome.
func (w *world) late(t *rapid.T) {
	if len(w.dead) == 0 {
		t.Skip("nobody is dead")
	}
	h := w.dead[0]
	w.dead = w.dead[1:]
	w.settle(t, h, rapid.SampledFrom([]job.State{job.Completed, job.Retry}).Draw(t, "outcome"))
}

// forwardAll moves every task that waits for its time, due or not: the ledger knows better than a
// clock that runs ahead.
func (w *world) forwardAll(*rapid.T) {
	for _, set := range []string{"scheduled", "retry"} {
		for _, id := range w.redis.ZRange(w.ctx, prefix+set, 0, -1).Val() {
			w.redis.ZRem(w.ctx, prefix+set, id)
			w.redis.LPush(w.ctx, prefix+"pending", id)
			w.redis.HSet(w.ctx, prefix+"t:"+id, "state", "pending")
		}
	}
}

// forget puts an earlier content of Redis back: it restarted without the newest part of its log, or
// empty.
func (w *world) forget(t *rapid.T) {
	if len(w.history) == 0 {
		t.Skip("no history")
	}
	i := rapid.IntRange(-1, len(w.history)-1).Draw(t, "back to")
	w.redis.FlushAll(w.ctx)
	if i < 0 {
		w.history = nil
		return
	}
	for key, dump := range w.history[i] {
		noError(t, w.redis.Restore(w.ctx, key, 0, dump).Err())
	}
	w.history = w.history[:i+1]
	for _, h := range w.holding { // living workers extend the leases that they know of
		if task := job.TaskID(h.job.ID, h.job.Delivery); w.redis.ZScore(w.ctx, prefix+"lease", task).Err() == nil {
			w.lease(task, 30*time.Second)
		}
	}
	for _, id := range w.redis.LRange(w.ctx, prefix+"active", 0, -1).Val() { // their leases expire
		if !slices.ContainsFunc(w.holding, func(h held) bool { return job.TaskID(h.job.ID, h.job.Delivery) == id }) {
			w.lapse(id)
		}
	}
}

func (w *world) remember() {
	content := map[string]string{}
	for _, key := range w.redis.Keys(w.ctx, "*").Val() {
		content[key] = w.redis.Dump(w.ctx, key).Val()
	}
	w.history = append(w.history, content)
}

func (w *world) auditPass(t *rapid.T) {
	w.beats(t)
	w.redis.Del(w.ctx, "waybill:{default}:reconciler")
	noError(t, w.reconciler.Pass(w.ctx))
}

// orphans is a reconciler's first half, by a process that sees the dead before they beat again.
func (w *world) orphans(t *rapid.T) {
	_, err := w.s.RescueLost(w.ctx, w.judge)
	noError(t, err)
}

// beats is the heartbeat of every worker: what the ledger believes to be with it and is not, it
// hands back.
func (w *world) beats(t *rapid.T) {
	for _, worker := range w.workers {
		orders, err := w.s.Heartbeat(w.ctx, job.Heartbeat{WorkerID: worker})
		noError(t, err)
		for _, lease := range orders.Held {
			if !slices.ContainsFunc(w.holding, func(h held) bool {
				return h.worker == worker && h.job.ID == lease.JobID && h.job.Attempt == lease.Attempt
			}) {
				_, err := w.s.Settle(
					w.ctx,
					[]*job.Settlement{
						{JobID: lease.JobID, Attempt: lease.Attempt, WorkerID: worker, State: job.Pending},
					},
				)
				noError(t, err)
			}
		}
	}
}

func (w *world) anyJob(t *rapid.T) job.ID {
	if len(w.jobs) == 0 {
		t.Skip("no jobs")
	}
	ids := make([]job.ID, 0, len(w.jobs))
	for id := range w.jobs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b job.ID) int { return slices.Compare(a[:], b[:]) })
	return ids[rapid.IntRange(0, len(ids)-1).Draw(t, "job")]
}

func (w *world) cancel(t *rapid.T) {
	_, err := w.s.Cancel(w.ctx, w.anyJob(t))
	if err != nil && job.CodeOf(err) != job.CodeConflict {
		t.Fatal(err)
	}
}

func (w *world) retry(t *rapid.T) {
	id := w.anyJob(t)
	j, err := w.s.Retry(w.ctx, id)
	if job.CodeOf(err) == job.CodeConflict {
		t.Skip("not in this state")
	}
	noError(t, err)
	w.failures[id] = 0
	w.jobs[id] = j // by hand: an outcome may end
	w.unsent = append(w.unsent, j.Message())
}

func (w *world) read(id job.ID) *job.Job {
	j, err := w.s.Job(w.ctx, id)
	noError(w.t, err)
	return j
}

// invariants are held after every step.
func (w *world) invariants(t *rapid.T) {
	for id, before := range w.jobs {
		now := w.read(id)
		if now.State != before.State && !reachable(before.State, now.State) {
			t.Fatalf("%s went from %s to %s", id, before.State, now.State)
		}
		if before.State.Finished() && now.State != before.State {
			t.Fatalf("%s was %s and is %s", id, before.State, now.State)
		}
		if now.Failures != w.failures[id] {
			t.Fatalf("%s counts %d failures, there were %d", id, now.Failures, w.failures[id])
		}
		if now.Attempt < before.Attempt || now.Delivery < before.Delivery {
			t.Fatalf("%s went back in its counts", id)
		}
		w.jobs[id] = now
	}
	w.remember()
}

// reachable allows what one step may do: at most a claim and its end.
func reachable(from, to job.State) bool {
	return from.CanBecome(to) ||
		slices.ContainsFunc(
			job.States,
			func(mid job.State) bool { return from.CanBecome(mid) && mid.CanBecome(to) && !mid.Finished() },
		)
}

// drain lets everything work again: what is open must finish.
func (w *world) drain() {
	w.unsent = nil // whatever was on its way is lost
	for range 200 {
		for len(w.holding) > 0 {
			h := w.holding[0]
			w.holding = w.holding[1:]
			w.settle(w.t, h, job.Completed)
		}
		w.auditPass(w.t)
		w.forwardAll(w.t)
		for w.redis.LLen(w.ctx, prefix+"pending").Val() > 0 {
			id := w.redis.RPopLPush(w.ctx, prefix+"pending", prefix+"active").Val()
			w.redis.HSet(w.ctx, prefix+"t:"+id, "state", "active")
			w.lease(id, 30*time.Second)
			w.claim(w.t, id)
		}
		if len(w.holding) == 0 && w.open() == nil && w.clean() {
			return
		}
		time.Sleep(time.Millisecond) // run_at lies that far ahead
	}
	w.t.Fatalf("not finished: %+v", w.open())
}

func (w *world) open() *job.Job {
	for id := range w.jobs {
		if j := w.read(id); !j.State.Finished() {
			return j
		}
	}
	return nil
}

// clean reports that Redis holds no task any more.
func (w *world) clean() bool { return len(w.redis.Keys(w.ctx, prefix+"t:*").Val()) == 0 }
