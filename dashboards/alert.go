package dashboards

import (
	"strconv"
	"time"
)

// Severity is how soon an operator must act.
type Severity string

const (
	Critical Severity = "critical" // at once: the promise or its time is at stake
	Warning  Severity = "warning"  // today
)

// Alert is one reason to call an operator. docs/runbooks.md has a section of the same name. For is
// shorter than every window of Expr: what a window counts has left it by its end, so that a burst
// would never be reported.
type Alert struct {
	Name     string
	Expr     string // answers a sample for each thing that is wrong
	For      time.Duration
	Severity Severity
	Summary  string // may use {{ $labels.x }} and {{ $value }}
}

const runbooks = "https://github.com/waybill/waybill/blob/main/docs/runbooks.md"

// Runbook says what to do.
func (a Alert) Runbook() string { return runbooks + "#" + anchor(a.Name) }

// anchor is how GitHub links a heading of one word.
func anchor(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Figures of the whole deployment come from one process at a time, and during a change of hands
// from two: max makes one of them. A range over such a figure must be one over the aggregate (a
// subquery), since each process has a series of its own.
const (
	pending   = `max by (queue) (waybill_jobs_open{state="pending"})`
	oldest    = `max by (queue) (waybill_oldest_pending_seconds)`
	notPaused = ` unless on (queue) max by (queue) (waybill_queue_paused) == 1`
)

// grown is by how much each of a counter's series grew within a window. increase() cannot know what
// a series held before it was scraped first: of a process that is younger than the window the
// counter itself says it. For counters that exist from the start of their process only.
func grown(counter, window string) string {
	return "(" + counter + " and on (job, instance) (time() - process_start_time_seconds < " + seconds(
		window,
	) + ") or increase(" + counter + "[" + window + "]))"
}

// seconds is a window in PromQL as a number.
func seconds(window string) string {
	d, err := time.ParseDuration(window)
	if err != nil {
		panic(err) // it is written in this file
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// Alerts are all of them, in the order of docs/runbooks.md.
func Alerts() []Alert {
	return append(append(workAlerts(), roadAlerts()...), processAlerts()...)
}

// workAlerts watch what users notice: jobs that wait or fail. The objective is that the oldest due
// job of a queue is younger than a minute, 99 % of the time; both burn rates look at a long window,
// so that a short burst is no alert, and at a short one, so that the alert ends soon.
func workAlerts() []Alert {
	late := func(long, short, share string) string {
		over := func(window string) string {
			return "avg_over_time((" + oldest + " > bool 60)" + window + ") > " + share
		}
		return "(" + over(long) + " and " + over(short) + ")" + notPaused
	}
	failed := grown(`waybill_jobs_settled_total{outcome=~"retry|archived"}`, "10m")
	attempts := grown(`waybill_jobs_settled_total{outcome=~"retry|archived|completed"}`, "10m")
	return []Alert{
		{
			Name: "WaybillQueueLate", For: time.Minute, Severity: Critical, Expr: late("[1h:1m]", "[5m:30s]", "0.144"),
			Summary: "Jobs in queue {{ $labels.queue }} wait for more than a minute: its error budget of a month is " +
				"gone in two days.",
		},
		{
			Name: "WaybillQueueLateSlowly", For: 15 * time.Minute, Severity: Warning,
			Expr: late("[6h:5m]", "[30m:1m]", "0.06"),
			Summary: "Jobs in queue {{ $labels.queue }} keep waiting for more than a minute: its error budget of a " +
				"month is gone in five days.",
		},
		{
			Name: "WaybillQueueGrowing", For: 10 * time.Minute, Severity: Warning,
			Expr:    "(" + pending + " > 1000 and delta((" + pending + ")[15m:1m]) > 0)" + notPaused,
			Summary: "Queue {{ $labels.queue }} has {{ $value }} pending jobs, and gets more than it is rid of.",
		},
		{
			Name: "WaybillNoWorker", For: 2 * time.Minute, Severity: Critical,
			Expr:    "(max by (queue) (waybill_queue_workers) == 0)" + notPaused,
			Summary: "No worker takes jobs from queue {{ $labels.queue }}.",
		},
		{
			Name: "WaybillTaskErrors", For: time.Minute, Severity: Warning,
			Expr: "sum by (type) (" + failed + ") / sum by (type) (" + attempts + ") > 0.2 and sum by (type) (" +
				failed + ") > 10",
			Summary: "{{ $value | humanizePercentage }} of the attempts of {{ $labels.type }} fail.",
		},
		{
			Name: "WaybillSchedulesLate", For: 2 * time.Minute, Severity: Critical,
			Expr:    "max(waybill_schedule_lag_seconds) > 60",
			Summary: "A schedule's planned time has waited {{ $value | humanizeDuration }} to be decided.",
		},
	}
}

// roadAlerts watch the ledger, Redis, and what runs between them.
func roadAlerts() []Alert {
	return []Alert{
		{
			Name: "WaybillDivergence", For: 5 * time.Minute, Severity: Critical,
			Expr: "max by (kind) (waybill_divergent_jobs) > 0",
			Summary: "Ledger and Redis disagree about {{ $value }} jobs ({{ $labels.kind }}), and the reconciler does not " +
				"get it right.",
		},
		{
			Name: "WaybillReconcilerStalled", For: time.Minute, Severity: Critical,
			Expr: "min(waybill_reconciler_last_pass_age_seconds) > 60",
			Summary: "No pass of the reconciler has finished for {{ $value | humanizeDuration }}: what Redis loses stays lost " +
				"meanwhile.",
		},
		{
			Name: "WaybillDispatchStalled", For: 2 * time.Minute, Severity: Critical,
			Expr: "max(waybill_dispatch_lag_seconds) > 10 or sum(" + grown(
				"waybill_dispatch_missed_total",
				"5m",
			) + ") > 30",
			Summary: "Recorded jobs do not get to Redis in time; they are safe in the ledger.",
		},
		{
			Name: "WaybillRedisNearFull", For: time.Minute, Severity: Critical,
			Expr: "max(waybill_redis_memory_used_bytes) / (max(waybill_redis_memory_limit_bytes) > 0) > 0.8 or " +
				"max(waybill_dispatch_stopped) == 1",
			Summary: "Redis nears its memory limit. At 85 % sending stops and jobs wait in the ledger.",
		},
		{
			Name: "WaybillRedisDown", For: time.Minute, Severity: Critical,
			Expr:    `count(waybill_source_up{source="redis"} == 0) > 0`,
			Summary: "{{ $value }} processes do not reach Redis. Jobs are taken, but not run.",
		},
		{
			Name: "WaybillLedgerDown", For: time.Minute, Severity: Critical,
			Expr:    `count(waybill_source_up{source="ledger"} == 0) > 0`,
			Summary: "{{ $value }} processes do not reach PostgreSQL. Nothing is taken and nothing is settled.",
		},
		{
			Name: "WaybillDatabasePoolExhausted", For: 2 * time.Minute, Severity: Warning,
			Expr: "max by (job, instance) (rate(waybill_database_pool_wait_seconds_total[5m])) > 1",
			Summary: "In {{ $labels.instance }} requests always wait for a connection to PostgreSQL ({{ " +
				"$value }} on average).",
		},
	}
}

// processAlerts watch who does the work, and those who would tell.
func processAlerts() []Alert {
	failed, answered := grown(
		`waybill_http_requests_total{status=~"5.."}`,
		"5m",
	), grown(
		"waybill_http_requests_total",
		"5m",
	)
	return []Alert{
		{
			Name: "WaybillNoHeartbeat", For: 30 * time.Second, Severity: Critical,
			Expr:    `max(waybill_workers{state="live"}) == 0`,
			Summary: "No worker's heartbeat reaches the ledger.",
		},
		{
			Name: "WaybillWorkerLost", For: 0, Severity: Warning, Expr: `max(waybill_workers{state="silent"}) > 0`,
			Summary: "{{ $value }} workers went silent without saying goodbye; their jobs are run by others.",
		},
		{
			Name: "WaybillClockOff", For: 2 * time.Minute, Severity: Warning,
			Expr: "max by (job, instance) (abs(waybill_clock_offset_seconds) - waybill_clock_error_seconds) > 1",
			Summary: "The clocks of {{ $labels.instance }} and of PostgreSQL are {{ $value | humanizeDuration }} " +
				"apart. Jobs go by PostgreSQL's.",
		},
		{
			Name: "WaybillAPIErrors", For: time.Minute, Severity: Critical,
			Expr:    "sum(" + failed + ") / sum(" + answered + ") > 0.05 and sum(" + failed + ") > 3",
			Summary: "{{ $value | humanizePercentage }} of the requests are answered with a server error.",
		},
		{
			Name: "WaybillFiguresMissing", For: 2 * time.Minute, Severity: Critical, Expr: "absent(waybill_jobs_open)",
			Summary: "No process exports the ledger's figures: most other alerts are blind.",
		},
		{
			// Not what a Prometheus that was restarted saw last: it shows that for five minutes,
			// though the target is gone.
			Name: "WaybillTargetDown", For: 2 * time.Minute, Severity: Warning,
			Expr:    `up{job=~"waybill-.*"} == 0 and present_over_time(up{job=~"waybill-.*"}[90s])`,
			Summary: "{{ $labels.job }} at {{ $labels.instance }} cannot be scraped.",
		},
	}
}
