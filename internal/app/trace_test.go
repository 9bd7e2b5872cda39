package app_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/waybill/waybill/internal/testenv"
)

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
	target := httptest.NewServer(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("Traceparent") }),
	)
	t.Cleanup(target.Close)
	d := startWatched(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint)

	const trace, another = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	from := func(trace string) []string { return []string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01"} }
	made := d.call("POST", "/v1/jobs", `{"type":"http.request","payload":{"url":"`+target.URL+`"}}`, from(trace)...)
	d.completed(made["id"])
	later := d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{},"delay":"1h"}`, from(another)...)
	testenv.EventuallyNoError(
		t,
		10*time.Second,
		func() error { return d.taskIsIn(later["id"], another) },
		"the task carries the trace",
	)
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
	target := httptest.NewServer(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("Traceparent") }),
	)
	t.Cleanup(target.Close)
	d := startWatched(t)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	made := d.call(
		"POST",
		"/v1/jobs",
		`{"type":"http.request","payload":{"url":"`+target.URL+`"}}`,
		"Traceparent",
		parent,
	)
	d.completed(made["id"])
	if got := <-arrived; got != parent {
		t.Errorf("the handler sent on %q", got)
	}
}
