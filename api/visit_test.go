package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestAnAddressIsTheOneThatGinWouldFind(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, trusted := range [][]netip.Prefix{nil, proxies} {
		h := newAPITest(t, func(h *apiTest) { h.cfg.TrustedProxies = trusted })
		var want string
		h.route(route{Method: "GET", Path: "/ip", Public: true, Handler: func(c *gin.Context) (any, error) { want = c.ClientIP(); return nil, nil }})
		for peer, ip := range map[string]string{
			"192.0.2.1:40000": "192.0.2.1", "[2001:DB8:0::1]:40000": "2001:db8::1", "[::ffff:192.0.2.1]:40000": "192.0.2.1", "[fe80::1%eth0]:40000": "",
			"10.1.1.1:1": "198.51.100.7", "[fd00::1]:1": "198.51.100.7", "192.0.2.1": "", "": "", "@": "", "192.0.2.1:http": "192.0.2.1", "[::ffff:10.1.1.1]:1": "198.51.100.7",
		} {
			req := httptest.NewRequest("GET", "/ip", nil)
			req.RemoteAddr = peer
			req.Header.Set("X-Forwarded-For", "198.51.100.7")
			h.api.Handler().ServeHTTP(httptest.NewRecorder(), req)
			got := h.lastLine("request")["ip"]
			if got != want || trusted != nil && got != ip {
				t.Errorf("%q: %v, Gin says %q, want %q", peer, got, want, ip)
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
