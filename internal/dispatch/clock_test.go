package dispatch

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/asynqredis"
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
				p := message(func(p *job.Message) { p.State, p.RunAt = c.state, runAt })
				if err := d.SendNow(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				state := client.HGet(t.Context(), asynqredis.TaskKey(p.Queue, job.TaskID(p.JobID, p.Delivery)),
					"state").
					Val()
				if state != c.list {
					t.Errorf("%s: the task is %q, want %q", name, state, c.list)
				}
				score := client.ZScore(t.Context(), "asynq:{default}:scheduled", job.TaskID(p.JobID, p.Delivery)).Val()
				if late := time.Unix(int64(score), 0).Sub(runAt); c.list == "scheduled" &&
					(late < 0 || late > time.Second) {
					t.Errorf("%s: it is due %v after its time", name, late)
				}
			}
		})
	}
}
