package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

// watchedDeployment is an API and a worker on one PostgreSQL and one Redis, each built as in its
// own process.
type watchedDeployment struct {
	t        *testing.T
	api, key string
	worker   string // where its metrics are
	redis    *testenv.RedisServer
	stop     func() // ends both and waits for them
}

func startWatched(t *testing.T, environ ...string) *watchedDeployment {
	t.Helper()
	d := &watchedDeployment{t: t, redis: testenv.Redis(t)}
	d.worker = fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	environ = append(
		environ,
		"DATABASE_URL="+testenv.Postgres(t),
		"REDIS_URL="+d.redis.URL,
		"WAYBILL_METRICS_ADDR="+d.worker,
		"WAYBILL_JWT_KEYS=k1:c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=",
		"WAYBILL_HTTP_ALLOW=127.0.0.0/8",
		"WAYBILL_CONCURRENCY=4",
	)
	cfg, err := config.Parse(environ)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, stopAPI := startApp(t, cfg, app.Options{API: app.ServeAPI, Migrate: true, Listen: listener})
	if d.key, err = a.EnsureAdmin(t.Context(), "root@example.com", "correct horse battery", ""); err != nil {
		t.Fatal(err)
	}
	d.api = "http://" + listener.Addr().String()
	_, stopWorker := startApp(t, cfg, app.Options{Worker: true})
	d.stop = sync.OnceFunc(func() { stopWorker(); stopAPI() })
	t.Cleanup(d.stop)
	return d
}

func startApp(t *testing.T, cfg config.Config, o app.Options) (*app.App, func()) {
	t.Helper()
	a, err := app.New(t.Context(), cfg, o, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// call answers the decoded body; any status of 300 or more fails the test.
func (d *watchedDeployment) call(method, path, body string, headers ...string) map[string]any {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.api+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		d.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *watchedDeployment) completed(id any) {
	d.t.Helper()
	if got := d.call("GET", fmt.Sprintf("/v1/jobs/%v?wait=30s", id), ""); got["state"] != "completed" {
		d.t.Fatalf("the job is %v: %v", got["state"], got["errors"])
	}
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape %s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

func TestMetricsAgreeWithTheLedgerAndNameNobody(t *testing.T) {
	t.Parallel()
	d := startWatched(t)
	for range 5 {
		d.completed(d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{"mail":"root@example.com"}}`)["id"])
	}
	waiting := d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h"}`)["id"]
	d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h","queue":"low"}`)
	batch := `{"type":"debug.echo","payload":{},"delay":"1h","queue":"%s"}`
	d.call(
		"POST",
		"/v1/jobs/batch",
		fmt.Sprintf("["+batch+","+batch+","+batch+","+batch+"]", "critical", "low", "low", "critical"),
	)
	for range 2 { // the second changes nothing
		d.call("POST", fmt.Sprintf("/v1/jobs/%v/cancel", waiting), "")
	}
	d.call("POST", fmt.Sprintf("/v1/jobs/%v/retry", waiting), "")
	d.completed(waiting)
	for _, path := range []string{"/nobody@example.com", "/v2/" + fmt.Sprint(waiting)} {
		if resp, err := http.Get(d.api + path); err != nil {
			t.Fatal(err)
		} else {
			resp.Body.Close()
		}
	}
	var all string
	wanted := []string{
		`waybill_jobs_created_total{queue="default",type="debug.echo"} 6`,
		`waybill_jobs_created_total{queue="low",type="debug.echo"} 3`,
		`waybill_jobs_created_total{queue="critical",type="debug.echo"} 2`,
		`waybill_jobs_settled_total{outcome="completed",queue="default",type="debug.echo"} 6`,
		`waybill_jobs_settled_total{outcome="canceled",queue="default",type="debug.echo"} 1`,
		`waybill_jobs_reopened_total{queue="default",type="debug.echo"} 1`,
		`waybill_jobs_open{queue="low",state="scheduled"} 3`,
		`waybill_jobs_open{queue="default",state="pending"} 0`,
		`asynq_tasks_enqueued_total{queue="low",state="scheduled"} 3`,
		`waybill_http_requests_total{method="GET",route="unknown",status="404"} 2`,
		`waybill_http_requests_total{method="GET",route="/v1/jobs/:id?wait",status="200"} 6`,
		`waybill_worker_slots 4`, `waybill_queue_workers{queue="low"} 1`,
	}
	testenv.EventuallyNoError(t, 20*time.Second, func() error { // the figures are read every 5 s
		all = scrape(t, d.api) + scrape(t, "http://"+d.worker)
		for _, line := range wanted {
			if !strings.Contains(all, line+"\n") {
				return fmt.Errorf("the metrics lack %s", line)
			}
		}
		return nil
	}, "the metrics say what happened")
	for _, name := range []string{"waybill_jobs_open{", "asynq_queue_size{"} {
		if n := strings.Count(all, "\n"+name); n != strings.Count(scrape(t, d.api), "\n"+name) &&
			n != strings.Count(scrape(t, "http://"+d.worker), "\n"+name) {
			t.Errorf("%s comes from more than one process", name)
		}
	}
	if found := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7|@|://`).FindString(withoutHelp(all)); found != "" {
		t.Errorf("a label holds an id, an e-mail or a URL: %q", found)
	}
}

func withoutHelp(metrics string) string {
	var b bytes.Buffer
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestTheDeploymentsFiguresMoveToAnotherProcessAndOutliveRedis(t *testing.T) {
	t.Parallel()
	d := startWatched(t)
	exporters := func() (api, worker bool) {
		const line = "\nwaybill_figures_exporter{source=\"ledger\"} 1\n"
		return strings.Contains(scrape(t, d.api), line), strings.Contains(scrape(t, "http://"+d.worker), line)
	}
	testenv.Eventually(t, 10*time.Second, func() bool { a, w := exporters(); return a || w }, "somebody exports")
	if a, w := exporters(); a && w {
		t.Fatal("both export")
	}
	d.redis.Stop()
	testenv.EventuallyNoError(t, 20*time.Second, func() error {
		all := scrape(t, d.api) + scrape(t, "http://"+d.worker)
		switch {
		case !strings.Contains(all, "\nwaybill_jobs_open{"):
			return fmt.Errorf("the ledger's figures went with Redis")
		case strings.Contains(all, "\nasynq_queue_size{"):
			return fmt.Errorf("figures of a Redis that is gone are shown")
		case strings.Count(all, "\nwaybill_source_up{source=\"redis\"} 0\n") != 2:
			return fmt.Errorf("not everybody says that Redis is gone")
		}
		return nil
	}, "without Redis")
}
