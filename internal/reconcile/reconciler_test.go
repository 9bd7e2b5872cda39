package reconcile

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// fixture is a ledger, a Redis and a Reconciler of both. The ledger is SQLite's: package store
// tests what the Reconciler asks of it on both engines.
type fixture struct {
	*testing.T
	ledger     *store.Store
	path       string // of the ledger's file
	d          *dispatch.Dispatcher
	insp       *asynq.Inspector
	redis      redis.UniversalClient
	server     *testenv.RedisServer
	clock      *fixtureClock
	reconciler *Reconciler
}

// fixtureClock is the clock of a fixture's Dispatcher and Reconciler.
type fixtureClock struct{ asynqredis.Clock }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "l.db")
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + path, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := testenv.Redis(t, "--appendonly", "yes")
	client, err := redisx.Connect(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	times := &fixtureClock{clock.New()}
	d, err := dispatch.New(dispatch.Config{Clock: times}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.Run(t.Context()) }()
	cfg := Config{
		Queues:   []string{"default", "low"},
		WorkerID: job.NewID(),
		Grace:    time.Microsecond,
		Every:    50 * time.Millisecond,
		Clock:    times,
	}
	r, err := New(cfg, s, d, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{
		T:          t,
		ledger:     s,
		path:       path,
		d:          d,
		insp:       asynq.NewInspectorFromRedisClient(client),
		redis:      client,
		server:     server,
		clock:      times,
		reconciler: r,
	}
}

func (b *fixture) create(n int, change ...func(*job.Submission)) []*job.Job {
	b.Helper()
	jobs := make([]*job.Job, n)
	for i := range n {
		s := job.Submission{
			ID:      job.NewID(),
			OwnerID: job.NewID(),
			Type:    "debug.echo",
			Queue:   "default",
			Payload: []byte(`{}`),
			Policy: job.Policy{
				MaxRetries: 3,
				Timeout:    time.Minute,
				Backoff:    job.Backoff{Kind: job.Fixed, Base: time.Second, Max: time.Second},
			},
		}
		for _, c := range change {
			c(&s)
		}
		made, err := b.ledger.CreateAll(b.Context(), []job.Submission{s})
		if err != nil {
			b.Fatal(err)
		}
		jobs[i] = made[0].Job
	}
	return jobs
}

func (b *fixture) send(jobs ...*job.Job) {
	b.Helper()
	for _, j := range jobs {
		if err := b.d.SendNow(b.Context(), j.Message()); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *fixture) pass() {
	b.Helper()
	if err := b.reconciler.Pass(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *fixture) known(j *job.Job) bool {
	return b.redis.Exists(b.Context(), asynqredis.TaskKey(j.Queue, job.TaskID(j.ID, j.Delivery))).Val() == 1
}

func (b *fixture) read(id job.ID) *job.Job {
	b.Helper()
	j, err := b.ledger.Job(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// take does what asynq does when it hands a task to a worker, with a lease that ends at the given
// time.
func (b *fixture) take(j *job.Job, lease time.Time) {
	b.Helper()
	ctx, id, prefix := b.Context(), job.TaskID(j.ID, j.Delivery), "asynq:{"+j.Queue+"}:"
	b.redis.LRem(ctx, prefix+"pending", 0, id)
	b.redis.LPush(ctx, prefix+"active", id)
	b.redis.HSet(ctx, prefix+"t:"+id, "state", "active")
	if !lease.IsZero() {
		b.redis.ZAdd(ctx, prefix+"lease", redis.Z{Score: float64(lease.Unix()), Member: id})
	}
}

func TestWhatTheFastPathMissedIsSent(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	jobs := append(b.create(3), b.create(1, func(s *job.Submission) { s.Queue = "low" })...)
	jobs = append(jobs, b.create(1, func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) })...)
	b.send(jobs[0])
	b.pass()
	for i, j := range jobs {
		if !b.known(j) {
			t.Errorf("job %d is not in redis", i)
		}
	}
	if got := b.reconciler.Stats().Resent[ReasonLost]; got != 4 {
		t.Errorf("%d were sent again, want 4", got)
	}
	b.pass()
	if got := b.reconciler.Stats().Resent[ReasonLost]; got != 4 {
		t.Errorf("a second pass sent %d more", got-4)
	}
}

func TestADeliveryInItsGraceIsLeftToTheFastPath(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.reconciler.cfg.Grace = time.Hour
	j := b.create(1)[0]
	b.pass()
	if b.known(j) {
		t.Error("the reconciler sent what the fast path had no time for yet")
	}
}

func TestAfterFlushAllEverythingIsSentAgain(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	jobs := b.create(advancePage/100 + 5)
	b.send(jobs...)
	b.pass()
	b.redis.FlushAll(t.Context())
	b.pass()
	for i, j := range jobs {
		if !b.known(j) {
			t.Fatalf("job %d is not in redis", i)
		}
	}
	if q := b.redis.SMembers(t.Context(), asynqredis.QueuesKey).Val(); len(q) != 2 {
		t.Errorf("redis knows the queues %v", q)
	}
}

// The heart of the matter: a watermark that was raised after a task was seen is lost with the task.
func TestALostLogTailTakesTheWatermarkWithTheTasks(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	early := b.create(3)
	b.send(early...)
	b.pass()
	before := b.redis.Get(t.Context(), watermarkKey("default")).Val()
	late := b.create(3)
	b.send(late...)
	b.pass()
	if now := b.redis.Get(t.Context(), watermarkKey("default")).Val(); now == before || before == "" {
		t.Fatalf("the watermark stands at %q, before at %q", now, before)
	}
	// Redis forgets the newest part of its log: the late tasks and all that came after them.
	for _, j := range late {
		if err := b.reconciler.deleteTasks(t.Context(), "default", job.TaskID(j.ID, j.Delivery)); err != nil {
			t.Fatal(err)
		}
	}
	b.redis.Set(t.Context(), watermarkKey("default"), before, 0)
	b.pass()
	for i, j := range append(early, late...) {
		if !b.known(j) {
			t.Errorf("job %d is not in redis", i)
		}
	}
}

// A flush between the look-up and the raising must not leave a watermark that covers tasks which
// are gone.
func TestAWatermarkIsOnlyRaisedWhereItWasRead(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.send(b.create(1)...)
	b.pass()
	stale, err := b.reconciler.readWatermark(t.Context(), "default")
	if err != nil || stale.text == "" {
		t.Fatal(stale, err)
	}
	b.redis.FlushAll(t.Context())
	next, _, err := b.reconciler.advancePage(t.Context(), "default", stale, time.Now().Add(time.Hour))
	if err != nil || next.text != "" {
		t.Errorf("raised to %q, %v", next.text, err)
	}
	if b.redis.Exists(t.Context(), watermarkKey("default")).Val() != 0 {
		t.Error("redis has a watermark, and no tasks")
	}
}

func TestATaskThatNobodyHoldsIsDeliveredAnew(t *testing.T) {
	t.Parallel()
	for name, lease := range map[string]time.Time{"its lease runs out": time.Now().Add(5 * time.Second),
		"it has no lease": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.reconciler.cfg.Grace = time.Hour // only the tasks' places are looked at
			j := b.create(1)[0]
			b.send(j)
			b.take(j, lease)
			if !lease.IsZero() {
				b.pass()
			} else { // the slow comparison looks at jobs that are older than Overdue
				f, err := b.reconciler.compare(t.Context(), "default",
					[]job.OpenDelivery{{Position: job.Position{ID: j.ID}, Number: 1, State: job.Pending}}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if err := b.reconciler.repairStuck(t.Context(), "default", f); err != nil {
					t.Fatal(err)
				}
			}
			now := b.read(j.ID)
			if now.Delivery != 2 || !b.known(now) || b.known(j) {
				t.Errorf("delivery %d, known %v, the old one known %v", now.Delivery, b.known(now), b.known(j))
			}
			if n := b.redis.LLen(t.Context(), "asynq:{default}:active").Val(); n != 0 {
				t.Errorf("%d tasks are still active", n)
			}
		})
	}
}

func TestATaskThatAWorkerHoldsIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	j := b.create(1)[0]
	b.send(j)
	b.take(j, time.Now().Add(29*time.Second))
	b.pass()
	if d := b.read(j.ID).Delivery; d != 1 {
		t.Errorf("delivery %d", d)
	}
}

func TestATaskArchivedInRedisIsArchivedInTheLedger(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	j := b.create(1)[0]
	b.send(j)
	if err := b.insp.ArchiveTask("default", job.TaskID(j.ID, 1)); err != nil {
		t.Fatal(err)
	}
	f, err := b.reconciler.compare(
		t.Context(),
		"default",
		[]job.OpenDelivery{{Position: job.Position{ID: j.ID}, Number: 1, State: job.Pending}},
		time.Now(),
	)
	if err != nil || len(f.archivedInRedis) != 1 {
		t.Fatal(f, err)
	}
	if err := b.reconciler.repairStuck(t.Context(), "default", f); err != nil {
		t.Fatal(err)
	}
	if got := b.read(j.ID); got.State != job.Archived || len(got.Errors) != 1 {
		t.Errorf("the ledger says %s, %v", got.State, got.Errors)
	}
}

func TestPausesFollowTheLedgerAndTheHand(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	ctx, key := t.Context(), "asynq:{default}:paused"
	if err := b.ledger.Pause(ctx, "default", "ann", "flood"); err != nil {
		t.Fatal(err)
	}
	b.pass()
	if b.redis.Exists(ctx, key).Val() != 1 {
		t.Error("redis does not pause what the ledger paused")
	}
	b.redis.FlushAll(ctx)
	b.pass()
	if b.redis.Exists(ctx, key).Val() != 1 {
		t.Error("an empty redis forgets the pause")
	}
	b.redis.Set(ctx, key, time.Now().Add(-time.Hour).Unix(), 0) // an old pause, whose end did not reach Redis
	if err := b.ledger.Resume(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	b.pass()
	if b.redis.Exists(ctx, key).Val() != 0 {
		t.Error("an ended pause is still in redis")
	}
	if err := b.insp.PauseQueue("low"); err != nil {
		t.Fatal(err)
	}
	b.pass()
	queues, err := b.ledger.Queues(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if (q.Name == "low") == q.PausedAt.IsZero() {
			t.Errorf("the ledger says of %s: %+v", q.Name, q)
		}
	}
}

func TestFsckFindsAndMends(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	jobs := b.create(4)
	b.send(jobs[1:]...)                                                              // 0 is missing
	b.take(jobs[1], time.Time{})                                                     // 1 is stuck
	if err := b.insp.ArchiveTask("default", job.TaskID(jobs[2].ID, 1)); err != nil { // 2 was archived by hand
		t.Fatal(err)
	}
	// A list of tasks that were never in it is left behind.
	b.redis.HSet(t.Context(), asynqredis.TaskKey("default", job.TaskID(job.NewID(), 1)), "state", "active")
	found, err := b.reconciler.Fsck(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, f := range found {
		kinds[f.Kind]++
	}
	for _, k := range []string{KindMissing, KindStuck, KindArchivedInRedis, KindGarbage} {
		if kinds[k] != 1 {
			t.Errorf("%s: %d findings, want 1 (%+v)", k, kinds[k], found)
		}
	}
	if _, err := b.reconciler.Fsck(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if left, err := b.reconciler.Fsck(t.Context(), false); err != nil || len(left) != 0 {
		t.Errorf("after the repair: %+v, %v", left, err)
	}
}

func TestAPassWithoutRedisFailsSoon(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.reconciler.Pass(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a pass without redis answers %v", err)
	}
}

func TestDivergenceIsCountedForEachQueueAndOnlyWhileItIsThere(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.create(2) // in the first queue; nothing is wrong in the second
	b.pass()
	if n := b.reconciler.Stats().Divergent[KindMissing]; n != 2 {
		t.Errorf("%d are missing, want 2", n)
	}
	b.create(1)
	b.redis.Set(t.Context(), "waybill:{default}:reconciler", job.NewID().String(), 0) // another process has the turn
	b.pass()
	if n := b.reconciler.Stats().Divergent[KindMissing]; n != 0 {
		t.Errorf("without the turn, %d are missing", n)
	}
}
