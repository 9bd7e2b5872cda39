package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestAClientsAddressIsThePeersOrWhatATrustedProxySays(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct{ peer, alone, behindProxies string }{
		{"192.0.2.1:40000", "192.0.2.1", "192.0.2.1"},
		{"[2001:DB8:0::1]:40000", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:192.0.2.1]:40000", "192.0.2.1", "192.0.2.1"},
		{"[fe80::1%eth0]:40000", "fe80::1", "fe80::1"},
		{"10.1.1.1:1", "10.1.1.1", "198.51.100.7"},
		{"[fd00::1]:1", "fd00::1", "198.51.100.7"},
		{"[::ffff:10.1.1.1]:1", "10.1.1.1", "198.51.100.7"},
		{"192.0.2.1", "", ""}, {"", "", ""}, {"@", "", ""}, {"192.0.2.1:http", "", ""},
	} {
		for want, trusted := range map[string][]netip.Prefix{"alone " + c.alone: nil, "behind " +
			c.behindProxies: proxies} {
			h := newAPITest(t, func(h *apiTest) { h.cfg.TrustedProxies = trusted })
			h.route(
				route{
					Method:  "GET",
					Path:    "/ip",
					Public:  true,
					Handler: func(*gin.Context) (any, error) { return nil, nil },
				},
			)
			req := httptest.NewRequest("GET", "/ip", nil)
			req.RemoteAddr = c.peer
			req.Header.Set("X-Forwarded-For", "198.51.100.7")
			h.api.Handler().ServeHTTP(httptest.NewRecorder(), req)
			if _, ip, _ := strings.Cut(want, " "); h.lastLine("request")["ip"] != ip {
				t.Errorf("%q %s: %v", c.peer, want, h.lastLine("request")["ip"])
			}
		}
	}
}

func TestAnAnswersHeadersAreNobodyElses(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	first := h.call("GET", "/v1/jobs", alice, "").want(200)
	for name := range first.header {
		first.header.Add(name, "mine")
		first.header.Set(name, "mine")
	}
	second := h.call("GET", "/v1/jobs", alice, "").want(200)
	for name, values := range second.header {
		if len(values) != 1 || values[0] == "mine" || name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s: %q", name, values)
		}
	}
}
