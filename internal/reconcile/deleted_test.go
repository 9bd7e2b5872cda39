package reconcile

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

func TestATaskDeletedAfterTheWatermarkVouchedForItIsSentAgain(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.reconciler.cfg.Overdue = time.Microsecond
	j := b.create(1, func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) })[0]
	b.send(j)
	b.pass()
	if err := b.insp.DeleteTask("default", job.TaskID(j.ID, 1)); err != nil {
		t.Fatal(err)
	}
	b.pass()
	if !b.known(j) {
		t.Error("Redis does not know the task, and nobody will send it")
	}
}

func TestTasksOfFinishedJobsAreDeleted(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	later := func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) }
	canceled, listless, kept := b.create(1, later)[0], b.create(1, later)[0], b.create(1, later)[0]
	archived, held := b.create(1)[0], b.create(1)[0]
	jobs := []*job.Job{canceled, listless, kept, archived, held}
	b.send(jobs...)
	for _, j := range []*job.Job{canceled, listless, archived, held} {
		if _, err := b.ledger.Cancel(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
	}
	b.redis.ZRem(t.Context(), inDefault+"scheduled", taskID(listless))
	if err := b.insp.ArchiveTask("default", taskID(archived)); err != nil {
		t.Fatal(err)
	}
	b.redis.HSet(t.Context(), task(held), "state", "active")
	b.redis.ZAdd(
		t.Context(),
		inDefault+"lease",
		redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: taskID(held)},
	)
	for range 3 {
		b.pass()
	}
	for i, want := range []bool{false, false, true, true, true} {
		if got := b.redis.Exists(t.Context(), task(jobs[i])).Val() == 1; got != want {
			t.Errorf("job %d: its task exists: %v, want %v", i, got, want)
		}
	}
	if n := b.redis.ZCard(t.Context(), inDefault+"scheduled").Val(); n != 1 {
		t.Errorf("%d ids are scheduled, want 1", n)
	}
}
