package app_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

// watchedDeployment is an API and a worker on one PostgreSQL and one Redis, each built as in its own process.
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
	environ = append(environ, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+d.redis.URL, "WAYBILL_METRICS_ADDR="+d.worker,
		"WAYBILL_JWT_KEYS=k1:c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=", "WAYBILL_HTTP_ALLOW=127.0.0.0/8", "WAYBILL_CONCURRENCY=4")
	cfg, err := config.Parse(environ)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, stopAPI := startApp(t, cfg, app.Options{API: true, Migrate: true, Listen: listener})
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

// collector is an OTLP receiver.
type collector struct {
	mu    sync.Mutex
	spans []*tracepb.Span
	names map[string]bool // of services
}

func newCollector(t *testing.T) (*collector, string) {
	c := &collector{names: map[string]bool{}}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, s.URL
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	zip, err := gzip.NewReader(r.Body)
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	body, _ := io.ReadAll(zip)
	var data tracepb.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range data.GetResourceSpans() {
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.names[a.GetValue().GetStringValue()] = true
			}
		}
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
}

// trace is the spans of one trace, by name.
func (c *collector) trace(id string) map[string]*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			found[s.GetName()] = s
		}
	}
	return found
}

func TestAJobIsOneTraceFromItsRequestToWhatItsHandlerSends(t *testing.T) {
	t.Parallel()
	spans, endpoint := newCollector(t)
	arrived := make(chan string, 1)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("Traceparent") }))
	t.Cleanup(target.Close)
	d := startWatched(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint)

	const trace, another = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	from := func(trace string) []string { return []string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01"} }
	made := d.call("POST", "/v1/jobs", `{"type":"http.request","payload":{"url":"`+target.URL+`"}}`, from(trace)...)
	d.completed(made["id"])
	later := d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h"}`, from(another)...)
	testenv.EventuallyNoError(t, 10*time.Second, func() error { return d.taskIsIn(later["id"], another) }, "the task carries the trace")
	d.stop() // sends what is left

	found := spans.trace(trace)
	request := found["POST /v1/jobs"]
	if request == nil || hex.EncodeToString(request.GetParentSpanId()) != "00f067aa0ba902b7" {
		t.Fatalf("the trace has %v, want the request as a child of the caller's span", keys(found))
	}
	for _, name := range []string{"ledger create", "wait in default", "run http.request"} {
		if found[name] == nil || !bytes.Equal(found[name].GetParentSpanId(), request.GetSpanId()) {
			t.Errorf("the trace has %v, want %q as a child of the request", keys(found), name)
		}
	}
	run := hex.EncodeToString(found["run http.request"].GetSpanId())
	if got := <-arrived; got != "00-"+trace+"-"+run+"-01" {
		t.Errorf("the handler sent on %q, want its own span %s", got, run)
	}
	if !spans.names["waybill-api"] || !spans.names["waybill-worker"] {
		t.Errorf("services %v", spans.names)
	}
}

// taskIsIn looks at the task of a job that waits in Redis.
func (d *watchedDeployment) taskIsIn(id any, trace string) error {
	i := asynq.NewInspector(asynq.RedisClientOpt{Addr: d.redis.Addr})
	defer i.Close()
	info, err := i.GetTaskInfo("default", fmt.Sprintf("%v.1", id))
	if err != nil {
		return err
	}
	if got := info.Headers["traceparent"]; !strings.Contains(got, trace) {
		return fmt.Errorf("its header is %q", got)
	}
	return nil
}

func keys[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

func TestWithoutACollectorTheCallersTraceIsHandedOnAllTheSame(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 1)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("Traceparent") }))
	t.Cleanup(target.Close)
	d := startWatched(t)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	made := d.call("POST", "/v1/jobs", `{"type":"http.request","payload":{"url":"`+target.URL+`"}}`, "Traceparent", parent)
	d.completed(made["id"])
	if got := <-arrived; got != parent {
		t.Errorf("the handler sent on %q", got)
	}
}

func TestMetricsAgreeWithTheLedgerAndNameNobody(t *testing.T) {
	t.Parallel()
	d := startWatched(t)
	for range 5 {
		d.completed(d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{"mail":"root@example.com"}}`)["id"])
	}
	waiting := d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h"}`)["id"]
	d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h","queue":"low"}`)
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
		`waybill_jobs_created_total{queue="low",type="debug.echo"} 1`,
		`waybill_jobs_settled_total{outcome="completed",queue="default",type="debug.echo"} 6`,
		`waybill_jobs_settled_total{outcome="canceled",queue="default",type="debug.echo"} 1`,
		`waybill_jobs_reopened_total{queue="default",type="debug.echo"} 1`,
		`waybill_jobs_open{queue="low",state="scheduled"} 1`,
		`waybill_jobs_open{queue="default",state="pending"} 0`,
		`asynq_tasks_enqueued_total{queue="low",state="scheduled"} 1`,
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
		if n := strings.Count(all, "\n"+name); n != strings.Count(scrape(t, d.api), "\n"+name) && n != strings.Count(scrape(t, "http://"+d.worker), "\n"+name) {
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
