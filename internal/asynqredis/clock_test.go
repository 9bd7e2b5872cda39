package asynqredis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

// ahead is a ledger whose clock is ahead of the process's.
type ahead time.Duration

func (a ahead) Now() time.Time      { return time.Now().Add(time.Duration(a)) }
func (a ahead) Earliest() time.Time { return a.Now().Add(-time.Millisecond) }

var offsets = []ahead{0, ahead(10 * time.Minute), ahead(-10 * time.Minute), ahead(-250 * time.Millisecond)}

// fixture is an asynq client and server on a Redis of its own, with the times of a ledger.
type fixture struct {
	*testing.T
	redis  *redis.Client
	timed  *Client
	client *asynq.Client
	clock  ahead
}

// forEachOffset runs a test with the ledger's clock at each of the offsets.
func forEachOffset(t *testing.T, f func(f *fixture)) {
	t.Parallel()
	for _, clock := range offsets {
		t.Run(time.Duration(clock).String(), func(t *testing.T) {
			t.Parallel()
			c := testenv.Redis(t).Client(t)
			timed := WithClock(c, clock)
			f(&fixture{t, c, timed, asynq.NewClientFromRedisClient(timed), clock})
		})
	}
}

func (f *fixture) enqueue(ctx context.Context, id string, opts ...asynq.Option) {
	f.Helper()
	if _, err := f.client.EnqueueContext(ctx, asynq.NewTask("t", nil),
		append(opts, asynq.TaskID(id), asynq.MaxRetry(10))...); err != nil {
		f.Fatal(err)
	}
}

// serve runs an asynq server until the test ends.
func (f *fixture) serve(handle asynq.HandlerFunc) {
	f.Helper()
	s := asynq.NewServerFromRedisClient(f.timed, asynq.Config{Concurrency: 2, TaskCheckInterval: 20 * time.Millisecond,
		DelayedTaskCheckInterval: 100 * time.Millisecond,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return 100 * time.Second },
		LogLevel:                 asynq.FatalLevel})
	if err := s.Start(handle); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Shutdown)
}

func (f *fixture) await(ok func() bool, what string) {
	f.Helper()
	testenv.Eventually(f, time.Minute, ok, "%s", what)
}

// score is where a task stands in one of the queue's sets; ok is false while it does not.
func (f *fixture) score(set, id string) (score float64, ok bool) {
	score, err := f.redis.ZScore(f.Context(), "asynq:{default}:"+set, id).Result()
	return score, err == nil
}

// near checks a score that was computed within the last minute.
func (f *fixture) near(what string, score float64, from time.Time, after time.Duration) {
	f.Helper()
	if at := time.Unix(int64(score), 0); at.Before(from.Add(after-2*time.Second)) ||
		at.After(f.clock.Now().Add(after+2*time.Second)) {
		f.Errorf("%s is at %s, want %v after a moment between %s and %s", what, at, after, from, f.clock.Now())
	}
}

func TestATaskIsScheduledAtTheLedgersTime(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		at := f.clock.Now().Add(90 * time.Second).Truncate(time.Second).Add(100 * time.Millisecond)
		f.enqueue(ScheduleAt(f.Context(), at), "told", asynq.ProcessIn(time.Hour))
		if score, ok := f.score("scheduled", "told"); !ok || int64(score) != at.Unix()+1 {
			f.Errorf("a task for %d is at %v, %v", at.Unix(), int64(score), ok)
		}
		from := f.clock.Now()
		f.enqueue(f.Context(), "untold", asynq.ProcessIn(time.Minute))
		score, _ := f.score("scheduled", "untold")
		f.near("a task in a minute", score, from, time.Minute)
	})
}

func TestATaskWaitsSinceTheLedgersTime(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		from := f.clock.Now()
		f.enqueue(f.Context(), "a")
		since, err := f.redis.HGet(f.Context(), "asynq:{default}:t:a", "pending_since").Int64()
		if err != nil || time.Unix(0, since).Before(from.Add(-time.Millisecond)) ||
			time.Unix(0, since).After(f.clock.Now()) {
			f.Errorf("it is pending since %s, %v", time.Unix(0, since), err)
		}
	})
}

func TestDueTasksAreMovedByTheLedgersClock(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		f.enqueue(ScheduleAt(f.Context(), f.clock.Now().Add(time.Second)), "due", asynq.ProcessIn(time.Hour))
		f.enqueue(ScheduleAt(f.Context(), f.clock.Now().Add(5*time.Minute)), "ahead", asynq.ProcessIn(time.Hour))
		ran := make(chan time.Time, 2)
		f.serve(func(context.Context, *asynq.Task) error { ran <- f.clock.Now(); return nil })
		due, _ := f.score("scheduled", "due")
		if at := <-ran; at.Before(time.Unix(int64(due), 0)) {
			f.Errorf("a task for %v ran at %s", int64(due), at)
		}
		f.await(func() bool { _, waits := f.score("lease", "due"); return !waits }, "the task is done")
		if _, waits := f.score("scheduled", "ahead"); !waits || len(ran) > 0 {
			f.Error("a task for later was moved")
		}
	})
}

func TestLeasesEndByTheLedgersClock(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		from, release, begun := f.clock.Now(), make(chan struct{}), make(chan struct{})
		f.serve(func(context.Context, *asynq.Task) error { close(begun); <-release; return nil })
		defer close(release)
		f.enqueue(f.Context(), "a")
		<-begun
		score, _ := f.score("lease", "a")
		f.near("the lease's end", score, from, 30*time.Second)
		f.redis.ZAdd(f.Context(), "asynq:{default}:lease", redis.Z{Score: 1, Member: "a"})
		f.await(func() bool { s, _ := f.score("lease", "a"); return s > 1 }, "the lease is extended")
		score, _ = f.score("lease", "a")
		f.near("the extended lease's end", score, from, 30*time.Second)
	})
}

func TestATaskThatIsPutOffIsDueAtTheLedgersTime(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		from, at := f.clock.Now(), f.clock.Now().Add(77*time.Second).Truncate(time.Second).Add(time.Microsecond)
		f.serve(func(ctx context.Context, _ *asynq.Task) error {
			if id, _ := asynq.GetTaskID(ctx); id == "told" {
				f.timed.RetryAt(id, at)
			}
			return errors.New("no")
		})
		f.enqueue(f.Context(), "told")
		f.enqueue(f.Context(), "untold")
		for _, id := range []string{"told", "untold"} {
			f.await(func() bool { _, ok := f.score("retry", id); return ok }, "it is put off")
		}
		if score, _ := f.score("retry", "told"); int64(score) != at.Unix()+1 {
			f.Errorf("put off to %s, it is at %v", at, int64(score))
		}
		score, _ := f.score("retry", "untold")
		f.near("a task that asynq puts off", score, from, 100*time.Second)
		f.await(
			func() bool { f.timed.mu.Lock(); defer f.timed.mu.Unlock(); return len(f.timed.due) == 0 },
			"no task is noted any more",
		)
	})
}

func TestATaskIsArchivedAtTheLedgersTime(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		from := f.clock.Now()
		f.serve(func(context.Context, *asynq.Task) error { return asynq.SkipRetry })
		f.enqueue(f.Context(), "a")
		f.await(func() bool { _, ok := f.score("archived", "a"); return ok }, "it is archived")
		score, _ := f.score("archived", "a")
		f.near("the archived task", score, from, 0)
	})
}

func TestAScriptThatIsNotKnownGoesThroughAsItIs(t *testing.T) {
	forEachOffset(t, func(f *fixture) {
		args := []any{int64(1), "two", int64(3)}
		script := redis.NewScript(`return {KEYS[1], ARGV[1], ARGV[2], ARGV[3]}`)
		for range 2 { // by its text, then by its hash
			got, err := script.Run(f.Context(), f.timed, []string{"waybill:{default}:key"}, args...).StringSlice()
			if err != nil || strings.Join(got, " ") != "waybill:{default}:key 1 two 3" {
				f.Errorf("it was given %v, %v", got, err)
			}
		}
	})
}
