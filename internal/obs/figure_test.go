package obs

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/waybill/waybill/internal/job"
)

type fixed []prometheus.Metric

func (fixed) Describe(chan<- *prometheus.Desc) {}
func (f fixed) Collect(out chan<- prometheus.Metric) {
	for _, m := range f {
		out <- m
	}
}

func TestTheLedgersFiguresShowEveryQueueThatAnybodyHasToDoWith(t *testing.T) {
	t.Parallel()
	now := time.Now()
	f := LedgerFigures{
		Now: now, Queues: []string{"default"},
		Open: []job.QueueCounts{
			{
				Queue:     "old",
				Open:      map[job.State]int{job.Pending: 3, job.Retry: 1},
				OldestDue: 90 * time.Second,
				Cut:       true,
			},
		},
		Paused: []job.Queue{{Name: "low", PausedAt: now}, {Name: "was-paused"}},
		Workers: []job.Worker{
			{Queues: []string{"default", "low"}, Slots: 8, BeatAt: now.Add(-time.Second)},
			{Queues: []string{"default"}, Slots: 4, BeatAt: now},
			{Queues: []string{"default"}, Slots: 100, BeatAt: now, Stopping: true},
			{Queues: []string{"default"}, Slots: 100, BeatAt: now.Add(-time.Minute)},
			{Queues: []string{"default"}, Slots: 100, BeatAt: now.Add(-time.Hour)},
		},
	}
	want := `
# HELP waybill_jobs_open_capped 1 if the queue has more jobs than were counted: waybill_jobs_open says at least.
# TYPE waybill_jobs_open_capped gauge
waybill_jobs_open_capped{queue="default"} 0
waybill_jobs_open_capped{queue="low"} 0
waybill_jobs_open_capped{queue="old"} 1
# HELP waybill_oldest_pending_seconds For how long the job that waits longest could have run already.
# TYPE waybill_oldest_pending_seconds gauge
waybill_oldest_pending_seconds{queue="default"} 0
waybill_oldest_pending_seconds{queue="low"} 0
waybill_oldest_pending_seconds{queue="old"} 90
# HELP waybill_queue_paused 1 while the queue is paused.
# TYPE waybill_queue_paused gauge
waybill_queue_paused{queue="default"} 0
waybill_queue_paused{queue="low"} 1
waybill_queue_paused{queue="old"} 0
# HELP waybill_queue_slots Jobs that these workers can run at once; they share their slots among their queues.
# TYPE waybill_queue_slots gauge
waybill_queue_slots{queue="default"} 12
waybill_queue_slots{queue="low"} 8
waybill_queue_slots{queue="old"} 0
# HELP waybill_queue_workers Worker processes that take jobs from the queue, by their heartbeats.
# TYPE waybill_queue_workers gauge
waybill_queue_workers{queue="default"} 2
waybill_queue_workers{queue="low"} 1
waybill_queue_workers{queue="old"} 0
# HELP waybill_workers Worker processes by their heartbeats: live, stopping, or silent (lost within the last 10 minutes).
# TYPE waybill_workers gauge
waybill_workers{state="live"} 2
waybill_workers{state="silent"} 1
waybill_workers{state="stopping"} 1
`
	err := testutil.CollectAndCompare(
		fixed(f.Metrics()),
		strings.NewReader(want),
		"waybill_jobs_open_capped",
		"waybill_oldest_pending_seconds",
		"waybill_queue_paused",
		"waybill_queue_slots",
		"waybill_queue_workers",
		"waybill_workers",
	)
	if err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(fixed(f.Metrics()), "waybill_jobs_open"); n != 3*len(job.OpenStates) {
		t.Errorf("%d series of open jobs, want one for each queue and open state", n)
	}
}

func TestOutcomesAreCountedAsOutcomesOfAttempts(t *testing.T) {
	t.Parallel()
	r := prometheus.NewPedanticRegistry()
	m := NewJobs(r, []string{"default"})
	j := &job.Job{
		Type:      "debug.echo",
		Queue:     "default",
		State:     job.Canceled,
		RunAt:     time.Now(),
		StartedAt: time.Now().Add(time.Second),
	}
	m.Created(j.Type, j.Queue, 1)
	m.Claimed(j)
	for _, outcome := range []job.State{job.Completed, job.Retry, job.Scheduled, job.Pending} {
		m.Settled(j, string(outcome), time.Second)
	}
	m.Settled(j, string(job.Pending), 0) // never begun
	m.Finished(j.Type, j.Queue, j.State)
	want := `
# HELP waybill_jobs_settled_total Attempts that ended, by outcome: completed, archived, canceled, retry, snoozed, handed_back. Jobs that were finished while they waited count too.
# TYPE waybill_jobs_settled_total counter
waybill_jobs_settled_total{outcome="canceled",queue="default",type="debug.echo"} 1
waybill_jobs_settled_total{outcome="completed",queue="default",type="debug.echo"} 1
waybill_jobs_settled_total{outcome="handed_back",queue="default",type="debug.echo"} 2
waybill_jobs_settled_total{outcome="retry",queue="default",type="debug.echo"} 1
waybill_jobs_settled_total{outcome="snoozed",queue="default",type="debug.echo"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "waybill_jobs_settled_total"); err != nil {
		t.Error(err)
	}
	for name, count := range map[string]uint64{"waybill_job_run_seconds": 4, "waybill_job_wait_seconds": 1} {
		if got := histogramCount(t, r, name); got != count {
			t.Errorf("%s: %d observations, want %d", name, got, count)
		}
	}
}

func TestTheWaitOfAnInterruptedJobIsNotObserved(t *testing.T) {
	t.Parallel()
	r := prometheus.NewPedanticRegistry()
	NewJobs(r, nil).Claimed(&job.Job{Queue: "default", Interruptions: 1, StartedAt: time.Now()})
	if n, _ := testutil.GatherAndCount(r, "waybill_job_wait_seconds"); n != 0 {
		t.Error("it was")
	}
}

func histogramCount(t *testing.T, r prometheus.Gatherer, name string) uint64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return 0
}
