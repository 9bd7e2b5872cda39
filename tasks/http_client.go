package tasks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/waybill/waybill/tasks/internal/guard"
)

const (
	dialTime        = 10 * time.Second
	idleTime        = 30 * time.Second
	maxAnswerHeader = 64 << 10 // bytes
)

// newHTTPClient makes a client whose every connection passes the guard. It takes no proxy from the environment, since the proxy
// would dial for it; follows no redirect; and unpacks nothing, so that a small answer stays small.
func newHTTPClient(g *guard.Guard) *http.Client {
	dialer := &net.Dialer{Timeout: dialTime, Control: g.Control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTime,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
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

// sendError puts into words why no answer came, without the URL (whose query may hold a secret) and without the addresses of
// our own network.
func sendError(ctx context.Context, err error) error {
	if errors.Is(err, guard.ErrNotAllowed) {
		return Permanent(guard.ErrNotAllowed)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from the endpoint: %w", context.Cause(ctx))
	}
	var (
		outer *url.Error
		dns   *net.DNSError
		op    *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		if dns.IsTimeout {
			return errors.New("the host's name could not be resolved in time")
		}
		return fmt.Errorf("the host's name could not be resolved: %s", dns.Err)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	case errors.As(err, &outer):
		return fmt.Errorf("no answer from the endpoint: %w", outer.Err)
	}
	return fmt.Errorf("no answer from the endpoint: %w", err)
}
