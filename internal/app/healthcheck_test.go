package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/config"
)

func TestHealthcheckFollowsReadyz(t *testing.T) {
	t.Parallel()
	for status, healthy := range map[int]bool{200: true, 503: false, 404: false, 302: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			http.Error(w, "not ready: ledger", status)
		}))
		t.Cleanup(s.Close)
		addr := s.Listener.Addr().String()
		for name, o := range map[string]struct {
			Options
			cfg config.Config
		}{"api": {Options{API: ServeAPI}, config.Config{Addr: addr}},
			"worker": {Options{Worker: true}, config.Config{MetricsAddr: addr}}} {
			err := healthcheck(t.Context(), o.cfg, o.Options)
			if (err == nil) != healthy {
				t.Errorf("%s answering %d: got %v", name, status, err)
			}
			if err != nil && !strings.Contains(err.Error(), "not ready: ledger") {
				t.Errorf("%s: %v does not say what is missing", name, err)
			}
		}
	}
}

func TestHealthcheckFailsWhereNobodyListens(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	addr := s.Listener.Addr().String()
	s.Close()
	if err := healthcheck(t.Context(), config.Config{Addr: addr}, Options{API: ServeAPI}); err == nil {
		t.Error("nobody answers, and all is well")
	}
}

func TestAListenerOnEveryAddressIsReachedAtLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{":8080": "localhost:8080", "0.0.0.0:1": "localhost:1",
		"[::]:1": "localhost:1", "10.1.2.3:1": "10.1.2.3:1",
		"api.internal:1": "api.internal:1", "[::1]:1": "[::1]:1"} {
		if got := local(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
