package obs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/waybill/waybill/internal/loop"
)

const (
	otlpTimeout = 10 * time.Second // of one attempt
	otlpTries   = 3
	otlpPause   = time.Second // before the next, unless the collector says how long
)

// otlpClient uploads spans by OTLP/HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). It is
// an otlptrace.Client in place of the library's own, which brings all of gRPC: a third of the
// program.
type otlpClient struct {
	url     string
	headers map[string]string
	http    *http.Client
}

func newOTLPClient(url string, headers map[string]string) *otlpClient {
	return &otlpClient{url: url, headers: headers, http: &http.Client{Timeout: otlpTimeout,
		// Headers may hold a secret.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Start implements otlptrace.Client: there is nothing to start.
func (c *otlpClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It tries again where the collector asks for that or
// cannot be reached, until ctx ends.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire TracesData is the same as ExportTraceServiceRequest, whose package imports gRPC.
	plain, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, _ = zip.Write(plain) // into memory
	_ = zip.Close()
	for try := 1; ; try++ {
		wait, err := c.post(ctx, body.Bytes())
		if err == nil || wait == 0 || try == otlpTries {
			return err
		}
		if !loop.Sleep(ctx, wait) {
			return err
		}
	}
}

// post answers how long to wait before the next try where one makes sense.
func (c *otlpClient) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("send spans: the endpoint is no URL")
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return otlpPause, fmt.Errorf("send spans: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return 0, nil
	case code == http.StatusTooManyRequests,
		code == http.StatusBadGateway,
		code == http.StatusServiceUnavailable,
		code == http.StatusGatewayTimeout:
		return retryAfter(resp.Header), fmt.Errorf("send spans: the collector answered %s", resp.Status)
	default:
		return 0, fmt.Errorf("send spans: the collector answered %s", resp.Status)
	}
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return otlpPause
	}
	return time.Duration(min(seconds, 20)) * time.Second
}
