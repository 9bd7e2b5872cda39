package app_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// byClock is a deployment whose database and Redis go by clocks of their own.
func byClock(t *testing.T, ledger, redis time.Duration) (*bench, *testenv.Clock) {
	t.Helper()
	of, ofRedis := testenv.NewClock(t), testenv.NewClock(t)
	of.Set(ledger)
	ofRedis.Set(redis)
	b := newIdleBench(t, "DATABASE_URL="+of.Postgres(), "REDIS_URL="+ofRedis.Redis())
	b.startAPI(app.Options{API: app.ServeAPI})
	b.startWorker()
	return b, of
}

// within checks a time that something took, by the ledger's clock. What may be late is so on a busy
// machine.
func within(t *testing.T, what string, took, least time.Duration) {
	t.Helper()
	if took < least || took > least+20*time.Second {
		t.Errorf("%s took %v, want %v and little more", what, took, least)
	}
}

func TestJobsRunOnTimeWhateverTheClocksShow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ledger, redis time.Duration }{
		{2 * time.Millisecond, 0}, {10 * time.Minute, -10 * time.Minute}, {-10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(fmt.Sprintf("ledger %v, redis %v", c.ledger, c.redis), func(t *testing.T) {
			t.Parallel()
			b, _ := byClock(t, c.ledger, c.redis)
			ledgerNow := func() time.Time { return time.Now().Add(c.ledger) }
			in := func(d time.Duration) string { return ledgerNow().Add(d).UTC().Format(time.RFC3339Nano) }

			at := ledgerNow().Add(3 * time.Second).Truncate(time.Microsecond)
			now := b.submit(`{"type":"debug.echo","payload":{}}`)
			delayed := b.submit(`{"type":"debug.echo","payload":{},"delay":"3s"}`)
			planned := b.submit(
				`{"type":"debug.echo","payload":{},"run_at":"` + at.UTC().Format(time.RFC3339Nano) + `"}`,
			)
			failing := b.submit(
				`{"type":"debug.fail","payload":{"times":1},"backoff":{"kind":"fixed","base":"2s"},"deadline":"` + in(
					time.Minute,
				) + `"}`,
			)
			b.ask(ask{method: "POST", path: "/v1/jobs", as: b.admin.key,
				body: `{"type":"debug.echo","payload":{},"deadline":"` + in(-30*time.Second) + `"}`}).want(b, 422)

			v := b.finished(now)
			within(t, "an immediate job", v.StartedAt.Sub(v.CreatedAt), 0)
			if off := v.CreatedAt.Sub(ledgerNow()); off > time.Second || off < -time.Minute {
				t.Errorf("it was created at %s, the ledger's time is %s", v.CreatedAt, ledgerNow())
			}
			v = b.finished(delayed)
			within(t, "a delayed job", v.StartedAt.Sub(v.CreatedAt), 3*time.Second)
			v = b.finished(planned)
			within(t, "a job for a time", v.StartedAt.Sub(at), 0)
			v = b.finished(failing)
			if v.State != job.Completed || len(v.Errors) != 1 {
				t.Fatalf("the job that fails once ended %s: %+v", v.State, v.Errors)
			}
			// A delay of 2 s is spread by a fifth at most.
			within(t, "the retry", v.StartedAt.Sub(v.Errors[0].At), 1600*time.Millisecond)
		})
	}
}

func TestTheLedgersClockMayStepWhileJobsRun(t *testing.T) {
	t.Parallel()
	b, clock := byClock(t, 0, 0)
	for _, to := range []time.Duration{10 * time.Minute, 0, -10 * time.Minute, 5 * time.Second, 0} {
		clock.Set(to)
		immediate, delayed := b.submit(
			`{"type":"debug.echo","payload":{}}`,
		), b.submit(
			`{"type":"debug.echo","payload":{},"delay":"2s"}`,
		)
		v := b.finished(immediate)
		within(t, fmt.Sprintf("with the clock at %v, an immediate job", to), v.StartedAt.Sub(v.CreatedAt), 0)
		v = b.finished(delayed)
		within(t, fmt.Sprintf("with the clock at %v, a delayed job", to), v.StartedAt.Sub(v.CreatedAt), 2*time.Second)
	}
}

func TestSchedulesTickByTheLedgersClock(t *testing.T) {
	t.Parallel()
	b, _ := byClock(t, 10*time.Minute, 0)
	b.startWorker() // a second scheduler
	r := b.ask(ask{method: "POST", path: "/v1/schedules", as: b.admin.key,
		body: `{"name":"each second","every":"1s","job":{"type":"debug.echo","payload":{}}}`}).want(b, 201)
	var s struct {
		ID string `json:"id"`
	}
	b.read(r, &s)
	testenv.Eventually(t, time.Minute, func() bool {
		return b.count("SELECT count(*) FROM schedule_ticks WHERE schedule_id = $1", s.ID) >= 5
	}, "five ticks are decided")
	if n := b.count("SELECT count(*) FROM schedule_ticks WHERE schedule_id = $1 AND (job_id IS NULL OR decided_at < "+
		"planned_at)", s.ID); n != 0 {
		t.Errorf("%d ticks have no job or were decided before their time", n)
	}
	if n := b.count("SELECT count(*) FROM (SELECT job_id FROM schedule_ticks GROUP BY job_id HAVING count(*) > 1) " +
		"d"); n != 0 {
		t.Errorf("%d jobs belong to more than one tick", n)
	}
	if n := b.count(`SELECT count(*) FROM schedule_ticks WHERE schedule_id = $1 AND planned_at NOT BETWEEN now() - interval '2 minutes' AND now()`, s.ID); n != 0 {
		t.Errorf("%d ticks were not planned by the ledger's clock", n)
	}
}
