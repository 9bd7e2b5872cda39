package dispatch

import (
	"database/sql"
	"strconv"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// ledgerClock is a ledger's clock that is ahead of the process's.
type ledgerClock time.Duration

func (c ledgerClock) Now() time.Time      { return time.Now().Add(time.Duration(c)) }
func (c ledgerClock) Earliest() time.Time { return c.Now().Add(-time.Millisecond) }

func TestAParcelIsSentByItsStateAndTheLedgersClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Minute, -10 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			clock := ledgerClock(ahead)
			d, _, client := newDispatcher(t, Config{Clock: clock})
			for name, c := range map[string]struct {
				state job.State
				in    time.Duration
				list  string
			}{
				"pending, decided now":                        {job.Pending, 0, "pending"},
				"pending, decided before the clock went back": {job.Pending, time.Hour, "pending"},
				"scheduled, ahead":                            {job.Scheduled, 5 * time.Minute, "scheduled"},
				"scheduled, due":                              {job.Scheduled, -time.Second, "pending"},
				"retry, ahead":                                {job.Retry, 5 * time.Minute, "scheduled"},
			} {
				runAt := clock.Now().Add(c.in)
				p := parcel(func(p *job.Parcel) { p.State, p.RunAt = c.state, runAt })
				if err := d.SendNow(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				state := client.HGet(t.Context(), taskKey(p.Queue, job.TaskID(p.JobID, p.Delivery)), "state").Val()
				if state != c.list {
					t.Errorf("%s: the task is %q, want %q", name, state, c.list)
				}
				score := client.ZScore(t.Context(), "asynq:{default}:scheduled", job.TaskID(p.JobID, p.Delivery)).Val()
				if late := time.Unix(int64(score), 0).Sub(runAt); c.list == "scheduled" && (late < 0 || late > time.Second) {
					t.Errorf("%s: it is due %v after its time", name, late)
				}
			}
		})
	}
}

func TestAWatermarkAheadOfTheLedgersClockCoversNothing(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	sent, lost := b.create(2), b.create(3)
	b.send(sent...)
	before := b.create(1) // decided just before the clock stepped back, and not sent
	db := b.redis
	now, err := b.ledger.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ahead := watermark{Position: job.Position{DispatchAt: now.Add(10 * time.Minute)}}
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
	mark, err := b.audit.mark(t.Context(), "default")
	if err != nil || mark.DispatchAt.After(b.d.clock.Now()) {
		t.Errorf("the watermark is at %s, %v", mark.DispatchAt, err)
	}
}

func TestATaskIsHeldByTheLedgersClock(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	b.d.clock = ledgerClock(10 * time.Minute)
	held, lapsed := b.create(1)[0], b.create(1)[0]
	b.send(held, lapsed)
	now := b.d.clock.Now()
	b.take(held, now.Add(30*time.Second))
	b.take(lapsed, now.Add(time.Second))
	if err := b.audit.unheld(t.Context(), "default"); err != nil {
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
	b := newAuditBench(t)
	b.d.clock = ledgerClock(10 * time.Minute)
	if err := b.d.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	since, err := strconv.ParseInt(b.redis.Get(t.Context(), pausedKey("default")).Val(), 10, 64)
	if err != nil || b.d.clock.Now().Sub(time.Unix(since, 0)).Abs() > time.Minute {
		t.Errorf("paused since %s, %v", time.Unix(since, 0), err)
	}
}

// moveAhead changes when a job's delivery was decided.
func (b *auditBench) moveAhead(j *job.Job, by time.Duration) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	at := j.CreatedAt.Add(by).UTC().Format("2006-01-02 15:04:05.999999-07:00")
	if _, err := db.ExecContext(b.Context(), "UPDATE open_jobs SET dispatch_at = ? WHERE id = ?", at, j.ID.String()); err != nil {
		b.Fatal(err)
	}
}
