package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/config"
)

const (
	healthTimeout = 4 * time.Second // /readyz itself answers within two
	healthText    = 1 << 10         // bytes shown of an answer
)

// healthcheck answers whether the process that runs with the same environment is ready. Containers
// ask it: theirs hold no shell and no curl.
func healthcheck(ctx context.Context, cfg config.Config, o Options) error {
	addr := cfg.MetricsAddr
	if o.API != nil {
		addr = cfg.Addr
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return askReady(ctx, addr)
}

// askReady asks /readyz at the address that a process of this machine listens on.
func askReady(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(addr)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	resp, err := (&http.Transport{}).RoundTrip(req) // past any proxy of the environment
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, healthText)) // cut or missing, the status still tells
	return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
}

// local is where a listener on addr is reached from this machine: one on every address is reached
// at loopback.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
