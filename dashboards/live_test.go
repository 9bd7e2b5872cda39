package dashboards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/internal/testenv"
)

// rightlyEmpty are what is asked of things that don't happen while all is well; that there are such
// series is held by unit tests.
func rightlyEmpty() []string {
	return []string{
		"waybill_settlements_refused_total",                // a worker that was thought dead came back
		`waybill_jobs_settled_total{outcome="handed_back"`, // a worker stopped in the middle of a job
		`waybill_http_requests_total{status=~"5.."}`,       // the API failed
	}
}

// The whole test: an API, two workers, PostgreSQL, Redis and Prometheus, with this repository's own
// configuration.
func TestEveryPanelAndAlertFindsItsDataInARunningSystem(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	s.load()
	t.Run("panels and the series of alerts", func(t *testing.T) {
		missing := append(append(liveExpressions(), documented(t)...), scaling(t))
		testenv.EventuallyNoError(t, 60*time.Second, func() error {
			missing = slices.DeleteFunc(missing, func(expr string) bool { return s.prometheus.answers(t, expr) })
			if len(missing) > 0 {
				return fmt.Errorf("%d expressions have no data:\n%s", len(missing), strings.Join(missing, "\n"))
			}
			return nil
		}, "every expression returns data")
	})
	t.Run("all workers are scraped", func(t *testing.T) {
		if n := s.prometheus.count(t, `up{job="waybill-worker"} == 1`); n != 2 {
			t.Errorf("%d workers are up, want 2", n)
		}
		if n := s.prometheus.count(t, `max by (queue, state) (waybill_jobs_open)`); n != 15 {
			t.Errorf("%d depths, want one for each of 3 queues and 5 states", n)
		}
	})
	t.Run("nothing fires but what the load deserves", func(t *testing.T) {
		s.prometheus.awaitFiring(t, true, "WaybillTaskErrors")
		firing := slices.DeleteFunc(
			s.prometheus.firing(t),
			func(name string) bool { return name == "WaybillTaskErrors" },
		)
		if len(firing) > 0 {
			t.Errorf("firing: %v", firing)
		}
	})
	t.Run("stopped workers are noticed, and so is their return", func(t *testing.T) {
		s.stopWorkers()
		s.prometheus.awaitFiring(t, true, "WaybillNoWorker", "WaybillNoHeartbeat", "WaybillTargetDown")
		s.startWorkers()
		s.prometheus.awaitFiring(t, false, "WaybillNoWorker", "WaybillNoHeartbeat", "WaybillTargetDown")
	})
}

// liveExpressions are all of the panels', and of each alert the series that it looks at: an alert
// itself is rightly silent.
func liveExpressions() (all []string) {
	for _, d := range Dashboards() {
		for _, r := range d.Rows {
			for _, p := range r.Panels {
				for _, q := range p.Queries {
					all = append(all, strings.NewReplacer("$queue", ".*", "$__rate_interval", "1m").Replace(q.Expr))
				}
			}
		}
	}
	selector := regexp.MustCompile(`\b(?:waybill|asynq)_[a-z_]+(?:\{[^}]*\})?|\bup\{[^}]*\}`)
	for _, a := range Alerts() {
		all = append(all, selector.FindAllString(a.Expr, -1)...)
	}
	for _, expr := range slices.Clone(all) {
		all = append(all, alternatives(expr)...)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(expr string) bool {
		return slices.ContainsFunc(
			rightlyEmpty(),
			func(e string) bool { return strings.Contains(expr, e) && !strings.Contains(expr, "or vector(0)") },
		)
	})
}

// alternatives splits a matcher such as {outcome=~"retry|archived"} into one for each word, so that
// a word which no sample has is found.
func alternatives(expr string) (each []string) {
	for _, m := range regexp.MustCompile(`(\w+)\{[^}]*?(\w+)=~"(\w+(?:\|\w+)+)"`).FindAllStringSubmatch(expr, -1) {
		for word := range strings.SplitSeq(m[3], "|") {
			each = append(each, fmt.Sprintf("%s{%s=%q}", m[1], m[2], word))
		}
	}
	return each
}

// documented are the metrics that docs/monitoring.md names whole, but for what is rightly empty:
// operators write expressions of their own.
func documented(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile("`((?:waybill|asynq)_[a-z_]*[a-z])[`{]").FindAllStringSubmatch(string(text),
		-1) {
		if !slices.Contains(rightlyEmpty(), name[1]) {
			all = append(all, fmt.Sprintf(`{__name__=~"%s(_count)?"}`, name[1]))
		}
	}
	if len(all) < 40 {
		t.Fatalf("docs/monitoring.md names %d metrics only", len(all))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// scaling is what workers are scaled by on Kubernetes.
func scaling(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../deploy/kubernetes/components/keda/worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec struct {
			Triggers []struct{ Metadata struct{ Query string } }
		}
	}
	if err := yaml.Unmarshal(text, &object); err != nil || len(object.Spec.Triggers) != 1 {
		t.Fatalf("%d triggers (%v)", len(object.Spec.Triggers), err)
	}
	return object.Spec.Triggers[0].Metadata.Query
}

// What a well system does not show is counted all the same once it happens. (Outcomes have a test
// of their own, beside their counter.)
func TestLateOutcomesAreCountedUnderTheNameThatPanelsAsk(t *testing.T) {
	t.Parallel()
	r := prom.NewRegistry()
	obs.NewJobs(r, nil).Refused(&job.Job{Type: "debug.echo", Queue: "default"})
	if n, err := testutil.GatherAndCount(r, "waybill_settlements_refused_total"); err != nil || n != 1 {
		t.Errorf("%d series (%v)", n, err)
	}
}

// prometheus is a server that runs for this test.
type prometheus struct{ url string }

// samples is what an instant query answers.
func (p prometheus) samples(t *testing.T, expr string) []map[string]string {
	t.Helper()
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Status != "success" {
		t.Fatalf("%s: %s %v", expr, body.Error, err)
	}
	var all []map[string]string
	for _, r := range body.Data.Result {
		all = append(all, r.Metric)
	}
	return all
}

func (p prometheus) count(t *testing.T, expr string) int { t.Helper(); return len(p.samples(t, expr)) }

func (p prometheus) answers(t *testing.T, expr string) bool { t.Helper(); return p.count(t, expr) > 0 }

func (p prometheus) firing(t *testing.T) (names []string) {
	t.Helper()
	for _, labels := range p.samples(t, `ALERTS{alertstate="firing"}`) {
		names = append(names, labels["alertname"])
	}
	return names
}

func (p prometheus) awaitFiring(t *testing.T, want bool, names ...string) {
	t.Helper()
	testenv.EventuallyNoError(t, 45*time.Second, func() error {
		firing := p.firing(t)
		for _, name := range names {
			if slices.Contains(firing, name) != want {
				return fmt.Errorf("%s fires: %v; firing are %v", name, !want, firing)
			}
		}
		return nil
	}, "alerts change")
}
