package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

const inDefault = "asynq:{default}:"

// breakage is one thing that was done to the keys of Redis, with jobs that wait.
type breakage struct {
	name string
	do   func(b *fixture, pending, scheduled []*job.Job)
	kind string // what the metrics call it; empty: nothing is lost by it
}

func task(j *job.Job) string { return asynqredis.TaskKey("default", job.TaskID(j.ID, j.Delivery)) }

func taskID(j *job.Job) string { return job.TaskID(j.ID, j.Delivery) }

func breakages() []breakage {
	return []breakage{
		{
			"a scheduled task's key is deleted",
			func(b *fixture, _, s []*job.Job) { b.redis.Del(b.Context(), task(s[0])) },
			KindMissing,
		},
		{
			"a pending task's key is deleted",
			func(b *fixture, p, _ []*job.Job) { b.redis.Del(b.Context(), task(p[0])) },
			KindMissing,
		},
		{"a task loses its message", func(b *fixture, p, s []*job.Job) {
			b.redis.HDel(b.Context(), task(p[0]), "msg")
			b.redis.HDel(b.Context(), task(s[0]), "msg")
		}, KindStuck},
		{
			"a task loses its state",
			func(b *fixture, p, _ []*job.Job) { b.redis.HDel(b.Context(), task(p[0]), "state") },
			KindStuck,
		},
		{
			"the pending list is deleted",
			func(b *fixture, _, _ []*job.Job) { b.redis.Del(b.Context(), inDefault+"pending") },
			KindStuck,
		},
		{
			"the pending list is renamed",
			func(b *fixture, _, _ []*job.Job) { b.redis.Rename(b.Context(), inDefault+"pending", "elsewhere") },
			KindStuck,
		},
		{
			"an id is removed from the pending list",
			func(b *fixture, p, _ []*job.Job) { b.redis.LRem(b.Context(), inDefault+"pending", 0, taskID(p[3])) },
			KindStuck,
		},
		{
			"the set of scheduled tasks is deleted",
			func(b *fixture, _, _ []*job.Job) { b.redis.Del(b.Context(), inDefault+"scheduled") },
			KindStuck,
		},
		{
			"an id is removed from the scheduled ones",
			func(b *fixture, _, s []*job.Job) { b.redis.ZRem(b.Context(), inDefault+"scheduled", taskID(s[0])) },
			KindStuck,
		},
		{"a task is due years after its job", func(b *fixture, _, s []*job.Job) {
			b.redis.ZAdd(b.Context(), inDefault+"scheduled", redis.Z{Score: 4e9, Member: taskID(s[0])})
		}, KindStuck},
		{
			"a task says that it is in a set where it is not",
			func(b *fixture, p, _ []*job.Job) { b.redis.HSet(b.Context(), task(p[0]), "state", "retry") },
			KindStuck,
		},
		{
			"a task says that a worker has it",
			func(b *fixture, p, _ []*job.Job) { b.redis.HSet(b.Context(), task(p[0]), "state", "active") },
			KindStuck,
		},
		{
			"a task has a state that asynq does not know",
			func(b *fixture, p, _ []*job.Job) { b.redis.HSet(b.Context(), task(p[0]), "state", "?") },
			KindStuck,
		},
		{"a task's key has another type", func(b *fixture, p, _ []*job.Job) { b.retype(task(p[0])) }, KindStuck},
		{
			"the pending list has another type",
			func(b *fixture, _, _ []*job.Job) { b.retype(inDefault + "pending") },
			KindKey,
		},
		{
			"the set of scheduled tasks has another type",
			func(b *fixture, _, _ []*job.Job) { b.retype(inDefault + "scheduled") },
			KindKey,
		},
		{"the leases have another type", func(b *fixture, _, _ []*job.Job) { b.retype(inDefault + "lease") }, KindKey},
		{"the pause has another type", func(b *fixture, _, _ []*job.Job) {
			b.redis.SAdd(b.Context(), inDefault+"paused", "x")
		}, KindKey},
		{
			"the list of queues has another type",
			func(b *fixture, _, _ []*job.Job) { b.retype(asynqredis.QueuesKey) },
			KindKey,
		},
		{
			"the list of queues is deleted",
			func(b *fixture, _, _ []*job.Job) { b.redis.Del(b.Context(), asynqredis.QueuesKey) },
			"",
		},
		{"the watermark has another type, and a task is gone", func(b *fixture, p, _ []*job.Job) {
			b.redis.Del(b.Context(), watermarkKey("default"), task(p[0]))
			b.redis.SAdd(b.Context(), watermarkKey("default"), "x")
		}, KindKey},
		{"the watermark is deleted, and a task is gone", func(b *fixture, p, _ []*job.Job) {
			b.redis.Del(b.Context(), watermarkKey("default"), task(p[0]))
		}, ""},
	}
}

// retype makes a key a string.
func (b *fixture) retype(key string) {
	b.Helper()
	if err := b.redis.Del(b.Context(), key).Err(); err != nil {
		b.Fatal(err)
	}
	if err := b.redis.Set(b.Context(), key, "x", 0).Err(); err != nil {
		b.Fatal(err)
	}
}

func TestWhateverIsDoneToItsKeysEveryJobIsCarriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range breakages() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.reconciler.cfg.Overdue = time.Nanosecond
			pending := b.create(10)
			scheduled := b.create(4, func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) })
			all := slices.Concat(pending, scheduled)
			b.send(all...)
			b.pass()
			c.do(b, pending, scheduled)
			for range 2 { // the second finds what the first has moved
				b.pass()
			}
			for _, j := range all {
				if err := b.carried(j); err != nil {
					t.Error(err)
				}
			}
			if c.kind != "" && b.reconciler.Stats().Divergent[c.kind] == 0 {
				t.Errorf("the metrics show %v", b.reconciler.Stats().Divergent)
			}
			if left, err := b.reconciler.Fsck(t.Context(), false); err != nil || len(left) != 0 {
				t.Errorf("fsck says %+v, %v", left, err)
			}
		})
	}
}

// carried answers why the task of a job as the ledger has it now cannot come to run.
func (b *fixture) carried(j *job.Job) error {
	b.Helper()
	now := b.read(j.ID)
	id, ctx := taskID(now), b.Context()
	held, err := b.redis.HMGet(ctx, task(now), "state", "msg").Result()
	if err != nil || held[0] == nil || held[1] == nil {
		return fmt.Errorf("task %s: %v, %v", id, held, err)
	}
	switch held[0] {
	case "pending":
		_, err = b.redis.LPos(ctx, inDefault+"pending", id, redis.LPosArgs{}).Result()
	case "scheduled":
		var score float64
		if score, err = b.redis.ZScore(ctx, inDefault+"scheduled", id).Result(); err == nil &&
			score > float64(now.RunAt.Unix()+1) {
			err = fmt.Errorf("it is due at %v", score)
		}
	default:
		err = fmt.Errorf("it is %v", held[0])
	}
	if err != nil {
		return fmt.Errorf("task %s, %v: %w", id, held[0], err)
	}
	return nil
}

func TestALossOfManyTasksIsMendedAtOnce(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.reconciler.cfg.Overdue = time.Nanosecond
	jobs := b.createAll(2 * sweepPage)
	b.send(jobs...)
	b.pass()
	b.redis.Del(t.Context(), inDefault+"pending")
	b.pass()
	b.pass() // from the beginning again
	if n := b.redis.LLen(t.Context(), inDefault+"pending").Val(); n != int64(len(jobs)) {
		t.Errorf("after two passes %d of %d tasks are pending", n, len(jobs))
	}
	if n := b.reconciler.Stats().Divergent[KindStuck]; n != int64(len(jobs)) {
		t.Errorf("the metrics show %d", n)
	}
}

// createAll is create for many, in one commit.
func (b *fixture) createAll(n int) []*job.Job {
	b.Helper()
	subs := make([]job.Submission, n)
	for i := range subs {
		subs[i] = job.Submission{
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
	}
	made, err := b.ledger.CreateAll(b.Context(), subs)
	if err != nil {
		b.Fatal(err)
	}
	jobs := make([]*job.Job, n)
	for i := range made {
		jobs[i] = made[i].Job
	}
	return jobs
}

// A long pending list is not read whole: what is older than its oldest tasks does not stand in it.
func TestALostTaskIsFoundBesideALongPendingList(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.reconciler.cfg.Overdue = time.Nanosecond
	lost := b.create(1)[0]
	b.send(lost)
	rest := b.createAll(listedWhole + 100)
	b.send(rest...)
	b.pass()
	long := time.Now().Add(-time.Hour)
	// The lost one came to be pending an hour ago, and its time was an hour before the others'.
	b.redis.LRem(t.Context(), inDefault+"pending", 0, taskID(lost))
	b.redis.HSet(t.Context(), task(lost), "pending_since", long.UnixNano())
	f, err := b.reconciler.compare(t.Context(), "default", []job.OpenDelivery{
		{Position: job.Position{ID: lost.ID}, Number: 1, State: job.Pending, RunAt: long},
		{Position: job.Position{ID: rest[0].ID}, Number: 1, State: job.Pending, RunAt: rest[0].RunAt},
		{Position: job.Position{ID: rest[len(rest)-1].ID}, Number: 1, State: job.Pending, RunAt: rest[0].RunAt},
	}, time.Now())
	if err != nil || len(f.stuck) != 1 || f.stuck[0].ID != lost.ID {
		t.Fatalf("stuck are %+v, %v", f.stuck, err)
	}
	// One in the middle is not told by its age; fsck reads the list whole.
	b.redis.LRem(t.Context(), inDefault+"pending", 0, taskID(rest[len(rest)-1]))
	found, err := b.reconciler.Fsck(t.Context(), false)
	if err != nil || len(found) != 2 {
		t.Errorf("fsck says %+v, %v", found, err)
	}
}

func TestManyTasksGoneFromTheFutureAreLookedForAtOnce(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	var last futureTasks
	for i := range 2 * shrinkLeast {
		b.redis.ZAdd(
			t.Context(),
			inDefault+"scheduled",
			redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: fmt.Sprint(i)},
		)
	}
	for range 2 {
		if gone, err := b.reconciler.futureShrunk(t.Context(), "default", &last); gone || err != nil {
			t.Fatal(gone, err)
		}
	}
	b.redis.Del(t.Context(), inDefault+"scheduled")
	if gone, err := b.reconciler.futureShrunk(t.Context(), "default", &last); !gone || err != nil {
		t.Error(gone, err)
	}
}

func TestActiveTasksAndLeasesAreTheSame(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"the active list is deleted": "active",
		"the leases are deleted": "lease"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			jobs := b.create(3)
			b.send(jobs...)
			for _, j := range jobs {
				b.take(j, time.Now().Add(29*time.Second))
			}
			b.redis.Del(t.Context(), inDefault+key)
			b.pass()
			for _, j := range jobs {
				_, err := b.redis.LPos(t.Context(), inDefault+"active", taskID(j), redis.LPosArgs{}).Result()
				if score := b.redis.ZScore(t.Context(), inDefault+"lease", taskID(j)).Val(); err != nil ||
					score < float64(time.Now().Add(staleLease).Unix()) {
					t.Errorf("task %s: its lease ends at %v, %v", taskID(j), score, err)
				}
				if d := b.read(j.ID).Delivery; d != 1 {
					t.Errorf("a task that a worker may have was delivered anew")
				}
			}
		})
	}
}

func TestALeaseOfTheAuditEndsWhateverWroteIt(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(b *fixture){
		"without an end": func(b *fixture) { b.redis.Set(b.Context(), turnKey("default"), "somebody", 0) },
		"a late end":     func(b *fixture) { b.redis.Set(b.Context(), turnKey("default"), "somebody", time.Hour) },
		"another type":   func(b *fixture) { b.redis.SAdd(b.Context(), turnKey("default"), "x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			write(b)
			deadline := time.Now().Add(20 * time.Second)
			for {
				mine, err := b.reconciler.turn(t.Context(), "default")
				if err != nil {
					t.Fatal(err)
				}
				if mine {
					return
				}
				if left := b.redis.PTTL(t.Context(), turnKey("default")).Val(); left > 3*b.reconciler.cfg.Every {
					t.Fatalf("the lease lasts %s more", left)
				}
				if time.Now().After(deadline) {
					t.Fatal("the turn never comes")
				}
			}
		})
	}
}

func TestFsckNamesKeysOfAWrongTypeAndSetsThemAside(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.send(b.create(1)...)
	b.retype(inDefault + "retry")
	found, err := b.reconciler.Fsck(t.Context(), false)
	if err != nil || len(found) != 1 || found[0].Kind != KindKey || !strings.Contains(found[0].What, "string") {
		t.Fatalf("fsck says %+v, %v", found, err)
	}
	if _, err := b.reconciler.Fsck(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if left, err := b.reconciler.Fsck(t.Context(), false); err != nil || len(left) != 0 {
		t.Errorf("after the repair: %+v, %v", left, err)
	}
	if got := b.redis.Get(t.Context(), asideKey(inDefault+"retry")).Val(); got != "x" {
		t.Errorf("what somebody wrote there is %q", got)
	}
}
