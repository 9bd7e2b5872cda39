package reconcile

import (
	"database/sql"
	"strconv"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

// ledgerClock is a ledger's clock that is ahead of the process's.
type ledgerClock time.Duration

func (c ledgerClock) Now() time.Time      { return time.Now().Add(time.Duration(c)) }
func (c ledgerClock) Earliest() time.Time { return c.Now().Add(-time.Millisecond) }

func TestAWatermarkAheadOfTheLedgersClockCoversNothing(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	sent, lost := b.create(2), b.create(3)
	b.send(sent...)
	before := b.create(1) // decided just before the clock stepped back, and not sent
	db := b.redis
	now, err := b.ledger.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ahead := position{Position: job.Position{DispatchAt: now.Add(10 * time.Minute)}}
	if err := db.Set(t.Context(), watermarkKey("default"), ahead.String(), 0).Err(); err != nil {
		t.Fatal(err)
	}
	b.moveAhead(before[0], 9*time.Minute)
	b.pass()
	for _, j := range append(append(sent, lost...), before...) {
		if !b.known(j) {
			t.Errorf("job %s was not sent", j.ID)
		}
	}
	mark, err := b.reconciler.readWatermark(t.Context(), "default")
	if err != nil || mark.DispatchAt.After(b.clock.Now()) {
		t.Errorf("the watermark is at %s, %v", mark.DispatchAt, err)
	}
}

func TestATaskIsHeldByTheLedgersClock(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.clock.Clock = ledgerClock(10 * time.Minute)
	held, lapsed := b.create(1)[0], b.create(1)[0]
	b.send(held, lapsed)
	now := b.clock.Now()
	b.take(held, now.Add(30*time.Second))
	b.take(lapsed, now.Add(time.Second))
	if err := b.reconciler.expiredLeases(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if d := b.read(held.ID).Delivery; d != 1 {
		t.Errorf("a task that a worker holds was delivered anew: %d", d)
	}
	if d := b.read(lapsed.ID).Delivery; d != 2 {
		t.Errorf("a task that nobody holds is at delivery %d", d)
	}
}

func TestAPauseIsAsOldAsTheLedgersClockSays(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.clock.Clock = ledgerClock(10 * time.Minute)
	if err := b.d.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	since, err := strconv.ParseInt(b.redis.Get(t.Context(), asynqredis.PausedKey("default")).Val(), 10, 64)
	if err != nil || b.clock.Now().Sub(time.Unix(since, 0)).Abs() > time.Minute {
		t.Errorf("paused since %s, %v", time.Unix(since, 0), err)
	}
}

// moveAhead changes when a job's delivery was decided.
func (b *fixture) moveAhead(j *job.Job, by time.Duration) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	at := j.CreatedAt.Add(by).UTC().Format("2006-01-02 15:04:05.999999-07:00")
	if _, err := db.ExecContext(b.Context(), "UPDATE open_jobs SET dispatch_at = ? WHERE id = ?", at,
		j.ID.String()); err != nil {
		b.Fatal(err)
	}
}
