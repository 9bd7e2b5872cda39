package dashboards

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// series are samples a minute apart, in promtool's notation: "0x9 5+1x3" is ten zeros, then 5 6 7
// 8.
type series map[string]string

// alertCase says with which series an alert fires at a time, with which labels beside its severity,
// and with which it is quiet.
type alertCase struct {
	alert  string
	at     string
	labels map[string]string
	fires  []series
	quiet  []series
}

func alertCases() []alertCase {
	queue := map[string]string{"queue": "default"}
	const (
		oldest = `waybill_oldest_pending_seconds{queue="default"}`
		paused = `waybill_queue_paused{queue="default"}`
		open   = `waybill_jobs_open{queue="default",state="pending"}`
	)
	return []alertCase{
		{
			alert: "WaybillQueueLate", at: "70m", labels: queue,
			fires: []series{{oldest: "0x49 90x30"}, {oldest: "0x49 90x30", paused: "0x80"}},
			quiet: []series{
				{oldest: "59x80"},
				{oldest: "0x62 90x2 0x20"},  // a burst
				{oldest: "0x30 90x29 0x20"}, // it is over
				{oldest: "90x80", paused: "1x80"},
			},
		},
		{
			alert: "WaybillQueueLateSlowly", at: "375m", labels: queue,
			fires: []series{{oldest: "0x330 90x60"}},
			quiet: []series{{oldest: "0x370 90x20"}, {oldest: "90x340 0x60"}, {oldest: "90x400", paused: "1x400"}},
		},
		{
			alert: "WaybillQueueGrowing", at: "60m", labels: queue,
			fires: []series{
				{open: "1000+50x80"},
				{ // the figures come from another process since the 50th minute
					`waybill_jobs_open{queue="default",state="pending",instance="a"}`: "1000+50x50 _x40",
					`waybill_jobs_open{queue="default",state="pending",instance="b"}`: "_x50 3500+50x40",
				},
			},
			quiet: []series{{open: "90000-50x80"}, {open: "0+10x80"}, {open: "1000+50x80", paused: "1x80"}},
		},
		{
			alert: "WaybillNoWorker", at: "5m", labels: queue,
			fires: []series{{`waybill_queue_workers{queue="default"}`: "0x9"}},
			quiet: []series{
				{`waybill_queue_workers{queue="default"}`: "1x9"},
				{`waybill_queue_workers{queue="default"}`: "0x9", paused: "1x9"},
			},
		},
		{
			alert: "WaybillTaskErrors", at: "40m", labels: map[string]string{"type": "http.request"},
			fires: []series{{
				`waybill_jobs_settled_total{type="http.request",outcome="retry"}`:     "0+10x60",
				`waybill_jobs_settled_total{type="http.request",outcome="archived"}`:  "0+10x60",
				`waybill_jobs_settled_total{type="http.request",outcome="completed"}`: "0+60x60",
			}, { // a type that never failed before, in one burst that is shorter than the window
				`waybill_jobs_settled_total{type="http.request",outcome="archived"}`: "0x36 500x10",
			}, { // the same in a process that was just started: its first sample holds all of them
				`waybill_jobs_settled_total{type="http.request",outcome="archived",job="w",instance="a"}`: "_x36 " +
					"500x10",
				`process_start_time_seconds{job="w",instance="a"}`: "_x36 2150x10",
			}},
			quiet: []series{
				{
					`waybill_jobs_settled_total{type="http.request",outcome="retry"}`:     "0+10x60",
					`waybill_jobs_settled_total{type="http.request",outcome="completed"}`: "0+90x60",
				},
				{`waybill_jobs_settled_total{type="http.request",outcome="retry"}`: "0+0.5x60"}, // all of few
				{`waybill_jobs_settled_total{type="http.request",outcome="snoozed"}`: "0+90x60"},
				{ // a Prometheus that just begins to look at an old process, with failures of long ago
					`waybill_jobs_settled_total{type="http.request",outcome="archived",job="w",instance="a"}`: "_x36 " +
						"500x10",
					`process_start_time_seconds{job="w",instance="a"}`: "_x36 0x10",
				},
			},
		},
		{
			alert: "WaybillSchedulesLate", at: "5m",
			fires: []series{{"waybill_schedule_lag_seconds": "90x9"}},
			quiet: []series{{"waybill_schedule_lag_seconds": "2x9"}},
		},
		{
			alert: "WaybillDivergence", at: "10m", labels: map[string]string{"kind": "missing"},
			fires: []series{{`waybill_divergent_jobs{kind="missing"}`: "3x20"}},
			quiet: []series{
				{`waybill_divergent_jobs{kind="missing"}`: "0x6 3x20"},
				{`waybill_divergent_jobs{kind="missing"}`: "0x20"},
			},
		},
		{
			alert: "WaybillReconcilerStalled", at: "10m",
			fires: []series{
				{
					`waybill_reconciler_last_pass_age_seconds{instance="a"}`: "0+60x20",
					`waybill_reconciler_last_pass_age_seconds{instance="b"}`: "100+60x20",
				},
			},
			quiet: []series{
				{
					`waybill_reconciler_last_pass_age_seconds{instance="a"}`: "0+60x20",
					`waybill_reconciler_last_pass_age_seconds{instance="b"}`: "1x20",
				},
			},
		},
		{
			alert: "WaybillDispatchStalled", at: "9m",
			fires: []series{{"waybill_dispatch_lag_seconds": "30x20"}, {"waybill_dispatch_missed_total": "0+60x20"}},
			quiet: []series{{"waybill_dispatch_lag_seconds": "1x20", "waybill_dispatch_missed_total": "500x20"}},
		},
		{
			alert: "WaybillRedisNearFull", at: "5m",
			fires: []series{
				{"waybill_redis_memory_used_bytes": "81x9", "waybill_redis_memory_limit_bytes": "100x9"},
				{"waybill_dispatch_stopped": "1x9"},
			},
			quiet: []series{
				{
					"waybill_redis_memory_used_bytes":  "70x9",
					"waybill_redis_memory_limit_bytes": "100x9",
					"waybill_dispatch_stopped":         "0x9",
				},
				{
					"waybill_redis_memory_used_bytes":  "70x9",
					"waybill_redis_memory_limit_bytes": "0x9",
				}, // without a limit
			},
		},
		{
			alert: "WaybillRedisDown", at: "5m",
			fires: []series{
				{
					`waybill_source_up{source="redis",instance="a"}`: "0x9",
					`waybill_source_up{source="redis",instance="b"}`: "1x9",
				},
			},
			quiet: []series{
				{`waybill_source_up{source="redis"}`: "1x9", `waybill_source_up{source="ledger"}`: "0x9"},
				{`waybill_source_up{source="redis"}`: "1x3 0 1x9"},
			},
		},
		{
			alert: "WaybillLedgerDown", at: "5m",
			fires: []series{{`waybill_source_up{source="ledger"}`: "0x9"}},
			quiet: []series{{`waybill_source_up{source="ledger"}`: "1x9", `waybill_source_up{source="redis"}`: "0x9"}},
		},
		{
			alert: "WaybillDatabasePoolExhausted", at: "15m",
			labels: map[string]string{"job": "waybill-api", "instance": "a"},
			fires:  []series{{`waybill_database_pool_wait_seconds_total{job="waybill-api",instance="a"}`: "0+120x20"}},
			quiet:  []series{{`waybill_database_pool_wait_seconds_total{job="waybill-api",instance="a"}`: "0+30x20"}},
		},
		{
			alert: "WaybillNoHeartbeat", at: "3m",
			fires: []series{{`waybill_workers{state="live"}`: "0x9", `waybill_workers{state="stopping"}`: "1x9"}},
			quiet: []series{{`waybill_workers{state="live"}`: "1x9"}},
		},
		{
			alert: "WaybillWorkerLost", at: "3m",
			fires: []series{{`waybill_workers{state="silent"}`: "1x9"}},
			quiet: []series{{`waybill_workers{state="silent"}`: "0x9", `waybill_workers{state="live"}`: "3x9"}},
		},
		{
			alert: "WaybillClockOff", at: "9m", labels: map[string]string{"job": "waybill-worker", "instance": "a"},
			fires: []series{
				{
					`waybill_clock_offset_seconds{job="waybill-worker",instance="a"}`: "-600x20",
					`waybill_clock_error_seconds{job="waybill-worker",instance="a"}`:  "0.01x20",
				},
				{
					`waybill_clock_offset_seconds{job="waybill-worker",instance="a"}`: "2x20",
					`waybill_clock_error_seconds{job="waybill-worker",instance="a"}`:  "0.01x20",
				},
			},
			quiet: []series{
				{
					`waybill_clock_offset_seconds{job="waybill-worker",instance="a"}`: "-0.9x20",
					`waybill_clock_error_seconds{job="waybill-worker",instance="a"}`:  "0.01x20",
				},
				{
					`waybill_clock_offset_seconds{job="waybill-worker",instance="a"}`: "2x20",
					`waybill_clock_error_seconds{job="waybill-worker",instance="a"}`:  "1.5x20",
				}, // the ledger answers slowly
			},
		},
		{
			alert: "WaybillAPIErrors", at: "15m",
			fires: []series{
				{
					`waybill_http_requests_total{status="503"}`: "0+10x20",
					`waybill_http_requests_total{status="202"}`: "0+90x20",
				},
			},
			quiet: []series{
				{
					`waybill_http_requests_total{status="503"}`: "0+1x20",
					`waybill_http_requests_total{status="202"}`: "0+90x20",
				},
				{`waybill_http_requests_total{status="429"}`: "0+90x20"},
			},
		},
		{
			alert: "WaybillFiguresMissing", at: "15m",
			fires: []series{
				{`up{job="waybill-api"}`: "1x20"},
				{`waybill_jobs_open{queue="default",state="pending"}`: "0x5 stale"},
			},
			quiet: []series{{`waybill_jobs_open{queue="default",state="pending"}`: "0x20"}},
		},
		{
			alert: "WaybillTargetDown", at: "9m", labels: map[string]string{"job": "waybill-worker", "instance": "w"},
			fires: []series{{`up{job="waybill-worker",instance="w"}`: "1x5 0x9"}},
			quiet: []series{
				{`up{job="waybill-worker",instance="w"}`: "1x9"}, {`up{job="other",instance="w"}`: "0x9"},
				{
					`up{job="waybill-worker",instance="w"}`: "1x5 0 _x9",
				}, // Prometheus was restarted, and the target is gone
			},
		},
	}
}

type (
	testFile struct {
		RuleFiles []string    `yaml:"rule_files"`
		Tests     []testGroup `yaml:"tests"`
	}
	testGroup struct {
		Interval string        `yaml:"interval"`
		Input    []inputSeries `yaml:"input_series"`
		Alerts   []alertTest   `yaml:"alert_rule_test"`
	}
	inputSeries struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	alertTest struct {
		At       string     `yaml:"eval_time"`
		Alert    string     `yaml:"alertname"`
		Expected []expected `yaml:"exp_alerts"`
	}
	expected struct {
		Labels map[string]string `yaml:"exp_labels"`
	}
)

func TestEveryAlertFiresWhenItShouldAndIsQuietOtherwise(t *testing.T) {
	t.Parallel()
	severity, tried := map[string]Severity{}, map[string]bool{}
	for _, a := range Alerts() {
		severity[a.Name] = a.Severity
	}
	file := testFile{RuleFiles: []string{"rules.yml"}}
	for _, c := range alertCases() {
		tried[c.alert] = len(c.fires) > 0 && len(c.quiet) > 0
		labels := map[string]string{"severity": string(severity[c.alert])}
		for name, value := range c.labels {
			labels[name] = value
		}
		for _, s := range c.fires {
			file.Tests = append(file.Tests, group(s, alertTest{c.at, c.alert, []expected{{labels}}}))
		}
		for _, s := range c.quiet {
			file.Tests = append(file.Tests, group(s, alertTest{c.at, c.alert, nil}))
		}
	}
	for _, a := range Alerts() {
		if !tried[a.Name] {
			t.Errorf("%s is not tried out", a.Name)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "test.yml"), marshal(t, file))
	write(t, filepath.Join(dir, "rules.yml"), plainRules(t))
	promtool(t, "test", "rules", filepath.Join(dir, "test.yml"))
}

func group(s series, test alertTest) testGroup {
	g := testGroup{Interval: "1m", Alerts: []alertTest{test}}
	for name, values := range s {
		g.Input = append(g.Input, inputSeries{name, values})
	}
	return g
}

// plainRules are the rules without their texts, which promtool would compare.
func plainRules(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("rules/waybill.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules map[string]any
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules["groups"].([]any) {
		for _, r := range g.(map[string]any)["rules"].([]any) {
			delete(r.(map[string]any), "annotations")
		}
	}
	return marshal(t, rules)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGrafanaAsksWhatPrometheusAsks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("provisioning/alerting/waybill.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []grafanaRule }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	rules := file.Groups[0].Rules
	if len(rules) != len(Alerts()) {
		t.Fatalf("%d rules, want %d", len(rules), len(Alerts()))
	}
	for i, a := range Alerts() {
		r := rules[i]
		if got := fmt.Sprint(r.Data[1].Model["expr"]); r.Title != a.Name || got != "clamp("+a.Expr+", 1, 1)" ||
			r.Annotations.Runbook != a.Runbook() {
			t.Errorf("%s asks %s", r.Title, got)
		}
		if strings.Contains(r.Annotations.Summary, "${") { // Grafana would look for a variable of its environment
			t.Errorf("%s: %s", r.Title, r.Annotations.Summary)
		}
	}
}
