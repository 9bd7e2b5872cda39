package obs

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func spans() []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{
		{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: "run debug.echo"}}}}},
	}
}

func TestSpansAreSentAsOTLPSaysAndAgainWhenTheCollectorAsksForThat(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	var got tracepb.TracesData
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(zip)
		if err != nil || proto.Unmarshal(body, &got) != nil {
			t.Errorf("the body cannot be read: %v", err)
		}
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/x-protobuf" ||
			r.Header.Get("Api-Key") != "k" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
	}))
	defer collector.Close()
	c := newOTLPClient(collector.URL, map[string]string{"Api-Key": "k"})
	if err := c.UploadTraces(t.Context(), spans()); err != nil {
		t.Fatal(err)
	}
	if tries.Load() != 2 || got.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0].GetName() != "run debug.echo" {
		t.Errorf("after %d tries: %v", tries.Load(), &got)
	}
}

func TestARefusalIsFinalAndTellsNoSecret(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer collector.Close()
	err := newOTLPClient(
		collector.URL,
		map[string]string{"Authorization": "hunter2"},
	).UploadTraces(t.Context(), spans())
	if err == nil || strings.Contains(err.Error(), "hunter2") || tries.Load() != 1 {
		t.Errorf("%v after %d tries", err, tries.Load())
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"": 1, "5": 5, "-1": 1, "x": 1, "99999": 20} {
		if got := retryAfter(http.Header{"Retry-After": {text}}).Seconds(); got != want {
			t.Errorf("%q: %v s, want %v", text, got, want)
		}
	}
}

func TestATraceIsHandedOnByText(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if got := Traceparent(WithTraceparent(context.Background(), parent)); got != parent {
		t.Errorf("got %q", got)
	}
	for _, broken := range []string{"", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		strings.Repeat("x", 5000)} {
		if got := Traceparent(WithTraceparent(context.Background(), broken)); got != "" {
			t.Errorf("%.60q became %q", broken, got)
		}
	}
}
