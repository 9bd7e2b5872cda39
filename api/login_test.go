package api

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func signInForm(email, password, next string) string {
	return url.Values{"email": {email}, "password": {password}, "next": {next}}.Encode()
}

func TestSigningInLeadsToTheMonitorWithACookieThatNoScriptAndNoOtherSiteCanUse(t *testing.T) {
	t.Parallel()
	for publicURL, want := range map[string]string{
		"":                         "waybill=\"session operator\"; Path=/; HttpOnly; SameSite=Strict",
		"http://127.0.0.1:8080":    "waybill=\"session operator\"; Path=/; HttpOnly; SameSite=Strict",
		"https://jobs.example.com": "__Host-waybill=\"session operator\"; Path=/; HttpOnly; Secure; SameSite=Strict",
	} {
		h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = publicURL })
		a := h.browse("POST", "/login", "", signInForm("operator@example.com", rightPassword, "/monitor/queues/low"),
			"Content-Type", formType).
			want(303)
		if a.header.Get("Location") != "/monitor/queues/low" || a.header.Get("Set-Cookie") != want {
			t.Errorf("%s: to %s with %s", publicURL, a.header.Get("Location"), a.header.Get("Set-Cookie"))
		}
	}
}

func TestSigningInAgainMakesANewSessionAndEndsTheOld(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.browse("POST", "/login", viewer, signInForm("operator@example.com", rightPassword, ""), "Content-Type", formType).
		want(303)
	if len(h.auth.ended) != 1 || h.auth.ended[0] != "session viewer" {
		t.Errorf("ended: %q", h.auth.ended)
	}
}

func TestTheSignInPageWorksWithoutScriptAndLoadsNothing(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	a := h.browse("GET", "/login?next=/monitor/servers", "", "").want(200)
	for _, never := range []string{"<script", "src=", "@import", "url(", "http:", "https:", "ZgotmplZ"} {
		if strings.Contains(a.body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, part := range []string{`method="post" action="/login"`, `value="/monitor/servers"`,
		`autocomplete="current-password"`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	policy := a.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, sourceHash(loginStyle)) ||
		strings.Contains(policy, "unsafe") {
		t.Errorf("policy %s", policy)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("headers %v", a.header)
	}
}

func TestAFailedSignInSaysNothingThatHelpsGuessing(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var bodies []string
	for _, try := range [][2]string{{"operator", "wrong password"}, {"nobody", "wrong password"}, {"nobody", "short"},
		{"operator", "short"}} {
		a := h.browse("POST", "/login", "", signInForm(try[0]+"@example.com", try[1], "/monitor"), "Content-Type",
			formType).
			want(401)
		if a.header.Get("Set-Cookie") != "" || !strings.Contains(a.body, "The e-mail or the password is wrong.") ||
			strings.Contains(a.body, try[1]) {
			t.Errorf("%v: %v %s", try, a.header, a.body)
		}
		bodies = append(bodies, strings.ReplaceAll(a.body, try[0], ""))
	}
	for _, b := range bodies[1:] {
		if b != bodies[0] {
			t.Error("the answers differ")
		}
	}
	h.auth.err = &job.Error{Code: job.CodeTooMany, RetryAfter: 7 * time.Second}
	a := h.browse("POST", "/login", "", signInForm("a@example.com", rightPassword, ""), "Content-Type", formType).
		want(429)
	if a.header.Get("Retry-After") != "7" || !strings.Contains(a.body, "Wait 7 s") {
		t.Errorf("%v %s", a.header, a.body)
	}
	h.auth.err = job.Unavailable("the ledger at 10.0.0.1", nil)
	if a = h.browse("POST", "/login", "", signInForm("a@example.com", rightPassword, ""), "Content-Type",
		formType).want(503); strings.Contains(
		a.body,
		"10.0.0.1",
	) {
		t.Error(a.body)
	}
}

func TestASignInLeadsNowhereButToTheMonitor(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/monitor": "/monitor", "/monitor/": "/monitor/",
		"/monitor/queues/default?status=retry": "/monitor/queues/default?status=retry",
		"":                                     "/monitor", "/": "/monitor", "/docs": "/monitor",
		"/monitors": "/monitor", "//evil.example/monitor": "/monitor", "https://evil.example/monitor": "/monitor",
		"https:/monitor": "/monitor", "/monitor/../login": "/monitor", "/monitor//evil.example": "/monitor",
		`/monitor\..\x`: "/monitor", `\\evil.example/monitor`: "/monitor",
		"/monitor/%2e%2e/v1": "/monitor", "/monitor/a\r\nSet-Cookie: x": "/monitor", "javascript:alert(1)": "/monitor",
		"/monitor@evil.example": "/monitor", "monitor": "/monitor",
		"/monitor/queues/a%20b": "/monitor/queues/a%20b", "/monitor#x": "/monitor",
	} {
		if got := (&browsers{}).localNext(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func TestAFormThatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for body, want := range map[string]int{"email=a&email=b": 400, "email=%zz": 400, "email=%ff": 400,
		"role=admin": 400, strings.Repeat("a", smallBody+1): 413} {
		h.browse("POST", "/login", "", body, "Content-Type", formType).want(want)
	}
	h.browse("POST", "/login", "", "{}").want(415)
}

func TestSigningOutEndsTheSessionAndTakesTheCookieBack(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	a := h.browse("POST", "/logout", operator, "", "Content-Type", formType).want(303)
	if a.header.Get("Location") != "/login" || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") ||
		len(h.auth.ended) != 1 {
		t.Errorf("%v %q", a.header, h.auth.ended)
	}
	h.browse("GET", "/monitor/", operator, "", "Accept", htmlPage).want(303)
	h.browse("POST", "/logout", "", "").want(303)
}

func TestWhoIsSignedInNeedNotSignInAgain(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	if a := h.browse("GET", "/login?next=/monitor/redis", viewer, "").want(303); a.header.Get(
		"Location",
	) != "/monitor/redis" {
		t.Error(a.header)
	}
}

func TestPagesOfOtherSitesCanNeitherSignInNorOut(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = "https://jobs.example.com" })
	body := signInForm("operator@example.com", rightPassword, "")
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"},
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		header = append(header, "Content-Type", formType)
		h.browse("POST", "/login", "", body, header...).want(403)
		h.browse("POST", "/logout", operator, "", header...).want(403)
	}
	if len(h.auth.ended) > 0 {
		t.Error("a session was ended")
	}
	for _, header := range [][]string{{}, {"Origin", "http://waybill.test"}, {"Origin", "https://jobs.example.com"},
		{"Origin", "null", "Sec-Fetch-Site", "same-origin"}} {
		header = append(header, "Content-Type", formType)
		if a := h.browse("POST", "/login", "", body, header...); a.status != http.StatusSeeOther {
			t.Errorf("%v: %d", header, a.status)
		}
	}
}
