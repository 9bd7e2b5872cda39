package builtin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/guard"
)

const (
	dialTime        = 10 * time.Second
	idleTime        = 30 * time.Second
	maxAnswerHeader = 256 << 10 // bytes
)

// httpClients make requests whose every connection passes the guard. They take no proxy from the
// environment, since the proxy would dial for them; follow no redirect; and unpack nothing, so that
// a small answer stays small.
type httpClients struct {
	dial   *dialHTTP
	pooled *http.Client // keeps connections for the next request
	fresh  *http.Client // makes a connection for each request
}

func newHTTPClients(g *guard.Guard) *httpClients {
	d := &dialHTTP{dialer: net.Dialer{Timeout: dialTime, Control: g.Control},
		tls: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}}
	return &httpClients{dial: d, pooled: newHTTPClient(d, false), fresh: newHTTPClient(d, true)}
}

func newHTTPClient(d *dialHTTP, fresh bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            d.plain,
			DialTLSContext:         d.secure,
			DisableKeepAlives:      fresh,
			MaxIdleConns:           256,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        idleTime,
			MaxResponseHeaderBytes: maxAnswerHeader,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends req, and once more on a fresh connection where an endpoint seems to have closed an idle
// one without saying so. Where an answer cannot be read, status is what its first line says; 0:
// there was no whole answer.
func (c *httpClients) do(req *http.Request) (resp *http.Response, status int, err error) {
	resp, x, err := c.try(c.pooled, req)
	if err != nil && x.closedIdle() && req.Context().Err() == nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, 0, fmt.Errorf("send the body again: %w", err)
		}
		resp, x, err = c.try(c.fresh, req)
	}
	switch {
	case err == nil:
		return resp, resp.StatusCode, nil
	case brokenOff(err), req.Context().Err() != nil:
		return nil, 0, err
	}
	return nil, x.status(), err
}

// brokenOff reports whether the connection ended, so that there is no whole answer, in contrast to
// one that cannot be read.
func brokenOff(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) ||
		errors.As(withoutURL(err), &network)
}

func (c *httpClients) try(client *http.Client, req *http.Request) (*http.Response, *exchange, error) {
	x := new(exchange)
	resp, err := client.Do(req.WithContext(x.watch(req.Context())))
	return resp, x, err
}

// sendError puts into words why no answer came, without the URL (whose query may hold a secret) and
// without addresses, which are those of our own network or of its resolvers.
func sendError(ctx context.Context, err error) error {
	if errors.Is(err, guard.ErrNotAllowed) {
		return tasks.Permanent(guard.ErrNotAllowed)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from the endpoint: %w", context.Cause(ctx))
	}
	return errors.New("no answer from the endpoint: " + networkError(withoutURL(err)))
}

// withoutURL is the cause of an error of an HTTP client, whose own text repeats the URL.
func withoutURL(err error) error {
	if outer := new(url.Error); errors.As(err, &outer) {
		return outer.Err
	}
	return err
}
