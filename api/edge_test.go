package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// stalled sends the beginning of a request over a connection of its own, and nothing after it.
func stalled(t *testing.T, addr, head string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestAPeerThatSendsHalfABodyTakesNoPlaceFromOthers(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.MaxInFlight = 2 })
	addr := h.serve(func(*http.Server) {})
	const head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Type: " +
		"application/json\r\nContent-Length: 1000\r\n\r\n{"
	for range 8 {
		stalled(t, addr, head)
	}
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return h.api.bound.working.Load() == 0 },
		"places are held while bodies come in",
	)
	for range 50 {
		res, err := http.Get("http://" + addr + "/openapi.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
	}
}

func TestAPeerThatDoesNotReadItsAnswerTakesNoPlaceFromOthers(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.MaxInFlight = 2 })
	addr := h.serve(func(*http.Server) {})
	many := strings.Repeat("GET /docs HTTP/1.1\r\nHost: x\r\n\r\n", 1000) // more than the kernel buffers
	for range 8 {
		conn := stalled(t, addr, "")
		go func() { _, _ = io.WriteString(conn, many) }()
	}
	quiet := 0
	testenv.Eventually(t, time.Minute, func() bool {
		if quiet++; h.api.bound.working.Load() > 0 {
			quiet = 0
		}
		return quiet == 20
	}, "places are held while answers go out")
	for range 50 {
		h.call("GET", "/v1/jobs", alice, "").want(200)
	}
}

func TestAccountRoutesTakeShortBodiesOnly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/v1/auth/login", "/v1/auth/register", "/v1/auth/refresh", "/v1/auth/logout"} {
		h.call("POST", path, "", `{"email":"`+strings.Repeat("a", smallBody)+`"}`).want(413)
	}
}

func TestABodyOfManyKeysIsRefusedQuickly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var keys strings.Builder
	for i := range 2_300_000 {
		fmt.Fprintf(&keys, `"k%d":1,`, i)
	}
	object := "{" + strings.TrimSuffix(keys.String(), ",") + "}"
	deep := strings.Repeat("[", 50) + object + strings.Repeat("]", 50)
	for name, body := range map[string]string{
		"a job": "[" + object + "]", "its payload": `[{"type":"debug.echo","payload":` + object + `}]`, "no job": "[[" +
			object + "]]",
		"an unknown field": `[{"x":` + object + `}]`, "labels": `[{"labels":` + object + `}]`,
		"deep in a payload": `[{"payload":` + deep + `}]`,
		"many numbers":      "[[" + strings.Repeat("1,", 13_000_000) + "1]]", "white space": "[{" +
			strings.Repeat(" ", 27<<20) + "}]",
	} {
		began := time.Now()
		a := h.call("POST", "/v1/jobs/batch", writeKey, body).want(422)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: refused after %v", name, took)
		}
		if n := len(a.problem().Errors); n == 0 || n > maxReported {
			t.Errorf("%s: %d mistakes", name, n)
		}
	}
	lines := h.call(
		"POST",
		"/v1/jobs/batch",
		writeKey,
		object,
		"Content-Type",
		"",
		"Content-Type",
		"application/x-ndjson",
	)
	if lines.want(422); len(lines.problem().Errors) > maxReported {
		t.Error("too many mistakes")
	}
}

func TestARefusedBatchIsPaidFor(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.Quota = QuotaConfig{RatePerSecond: 1e-3, Burst: job.MaxBatch} })
	for range job.MaxBatch {
		h.api.Handler().
			ServeHTTP(httptest.NewRecorder(),
				h.request("POST", "/v1/jobs/batch", alice, strings.NewReader(`[{"x":1}]`)))
	}
	h.call("POST", "/v1/jobs/batch", alice, `[{"x":1}]`).want(429)
}

func TestKeysOfAnObjectAreFoundTwiceHoweverMany(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, fewKeys - 1, fewKeys, fewKeys + 1, 1000, 20_000} {
		var body strings.Builder
		for i := range n {
			fmt.Fprintf(&body, `"%d":0,`, i)
		}
		for i, want := range map[int]int{0: 1, n / 2: 1, n - 1: 1, n: 0} {
			s := &scanner{data: fmt.Appendf(nil, `{%s"%d":0}`, body.String(), i)}
			s.document(func() { s.skip() })
			if len(s.mistakes) != want || s.stop != nil {
				t.Errorf("%d keys and %d again: %v %v", n, i, s.mistakes, s.stop)
			}
		}
	}
}

func TestAPayloadMayHaveItsLimitAndNoByteMore(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for over, want := range map[int]int{-1: 202, 0: 202, 1: 422} {
		for _, form := range []string{`{"type":"debug.echo","payload":  {"a":"%s"}}`,
			`{"type":"debug.echo","payload":{"a":"%s"} }`} {
			body := fmt.Sprintf(form, strings.Repeat("x", job.MaxPayload-len(`{"a":""}`)+over))
			a := h.call("POST", "/v1/jobs", alice, body).want(want)
			if want == 422 && !slices.Equal(a.pointers(), []string{"/payload"}) {
				t.Errorf("%v", a.pointers())
			}
		}
	}
}

func TestAWaitEndsWithTheRightToSeeTheJob(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]struct {
		end  func(*account.Principal)
		want int
	}{
		"a demotion": {func(p *account.Principal) { p.Role = account.RoleUser }, 404},
		"a lost key": {func(p *account.Principal) {
			p.KeyID, p.Scopes = job.NewID(),
				[]account.Scope{account.ScopeJobsWrite}
		}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newAPITest(t)
			id := h.submit(alice, echo)
			answered := make(chan int, 1)
			go func() { answered <- h.call("GET", "/v1/jobs/"+id.String()+"?wait=55s", viewer, "").status }()
			receive(t, h.ledger.waiting)
			changed := *h.auth.principals[viewer]
			lose.end(&changed)
			h.auth.set(viewer, &changed)
			if got := receive(t, answered); got != lose.want {
				t.Errorf("%d, want %d", got, lose.want)
			}
		})
	}
}

func TestAWaitShowsWhatTheCallerMaySeeAtItsEnd(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.catalogue = privateCatalogue(h.t) })
	id := h.submit(alice, `{"type":"test.private","payload":{"secret":"TOPSECRET"}}`)
	answered := make(chan string, 1)
	go func() { answered <- h.call("GET", "/v1/jobs/"+id.String()+"?wait=55s", operator, "").body }()
	receive(t, h.ledger.waiting)
	changed := *h.auth.principals[operator]
	changed.Role = account.RoleViewer
	h.auth.set(operator, &changed)
	h.ledger.set(id, func(j *job.Job) { j.State = job.Completed })
	if got := receive(t, answered); strings.Contains(got, "TOPSECRET") ||
		!strings.Contains(got, `"state":"completed"`) {
		t.Errorf("an operator who became a viewer sees %s", got)
	}
}

func TestAStoppingServerAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	answered := make(chan string, 1)
	go func() {
		answered <- h.call("GET", "/v1/jobs/"+id.String()+"?wait=1000h", alice, "").want(200).json()["state"].(string)
	}()
	receive(t, h.ledger.waiting)
	if err := h.api.Server().Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, answered); got != "pending" {
		t.Errorf("state %s", got)
	}
}

func TestClientsBehindProxiesAreReadAsTheseWriteThem(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) {
		h.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	})
	for _, test := range []struct{ peer, header, want string }{
		{"10.0.0.1:80", "203.0.113.9:61598", "203.0.113.9"}, {"10.0.0.1:80", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:80", "[2001:db8::7]:443", "2001:db8::7"}, {"10.0.0.1:80", "[2001:db8::7]", "2001:db8::7"},
		{"10.0.0.1:80", "2001:db8::7", "2001:db8::7"}, {"10.0.0.1:80", "fe80::1%eth0", "fe80::1"},
		{"10.0.0.1:80", "[fe80::1%eth0]:1", "fe80::1"},
		{"[fd00::1]:80", "::ffff:203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:80", "1.1.1.1, 203.0.113.9:1 , 10.0.0.2:5", "203.0.113.9"},
		{"10.0.0.1:80", "unknown", "10.0.0.1"}, {"10.0.0.1:80", "1.1.1.1, _hidden, 10.0.0.3", "10.0.0.3"},
		{"10.0.0.1:80", "", "10.0.0.1"},
		{"203.0.113.1:80", "1.1.1.1", "203.0.113.1"}, {"10.0.0.1:80", "10.0.0.9, 10.0.0.8", "10.0.0.9"},
	} {
		req := h.request("GET", "/healthz", "", http.NoBody, "X-Forwarded-For", test.header)
		req.RemoteAddr = test.peer
		h.do(req).want(200)
		if got := h.lastLine("request")["ip"]; got != test.want {
			t.Errorf("%s for %q: %v, want %s", test.peer, test.header, got, test.want)
		}
	}
	if n := strings.Count(h.log.String(), "cannot be read"); n != 1 {
		t.Errorf("what cannot be read is logged %d times", n)
	}
}

func TestNoCredentialInAPathIsLogged(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, secret := range []string{"wb_01a20571117876129b8d16808b575f5cTOPSECRET", "wr_TOPSECRET", "ws_TOPSECRET",
		"eyJhbGciOiJIUzI1NiJ9.TOPSECRET"} {
		h.call("GET", "/v1/jobs/"+secret, alice, "")
		h.call("GET", "/"+secret+"/v1/jobs", "", "")
		h.call("GET", "/v1/queues/x"+secret, alice, "")
	}
	if strings.Contains(h.log.String(), "TOPSECRET") {
		t.Error(h.log)
	}
}

func TestAParameterThatNothingReadsIsRefusedWhateverTheMethod(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo).String()
	h.call("POST", "/v1/jobs?foo=1", alice, echo).want(400)
	h.call("POST", "/v1/jobs/"+id+"/cancel?foo=1", alice, "").want(400)
	h.call("GET", "/v1/jobs?foo=1", alice, "").want(400)
	h.call("POST", "/v1/jobs?foo=1", "", echo).want(401)
}

func TestBatchesOfLinesGoByEachOfTheirNames(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, media := range []string{"application/x-ndjson", "application/jsonl", "application/jsonl; charset=utf-8",
		"application/x-jsonlines"} {
		h.call("POST", "/v1/jobs/batch", alice, echo+"\n"+echo, "Content-Type", "", "Content-Type", media).want(202)
	}
	h.call("POST", "/v1/jobs/batch", alice, echo, "Content-Type", "", "Content-Type", "application/xml").want(415)
}

func TestPagesMaySendWhatTracingAdds(t *testing.T) {
	t.Parallel()
	const ours = "https://app.example.com"
	h := newAPITest(t, func(h *apiTest) { h.cfg.CORSOrigins = []string{ours} })
	rec := httptest.NewRecorder()
	h.api.Handler().
		ServeHTTP(rec, h.request("OPTIONS", "/v1/jobs", "", http.NoBody, "Origin", ours,
			"Access-Control-Request-Method", "POST"))
	allowed := strings.Split(strings.ToLower(rec.Header().Get("Access-Control-Allow-Headers")), ", ")
	for _, name := range []string{"authorization", "content-type", "idempotency-key", "traceparent", "tracestate",
		"baggage", "sentry-trace"} {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s is not allowed: %v", name, allowed)
		}
	}
}

func TestBrowsersAreToldToComeByTLSWhereThePublicURLDoes(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{"https://jobs.example.com": "max-age=31536000", "http://jobs.lan": "",
		"": ""} {
		h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = url })
		if got := h.call("GET", "/healthz", "", "").header.Get("Strict-Transport-Security"); got != want {
			t.Errorf("%q: %q", url, got)
		}
	}
}

func TestTheLastPageNamesNoNext(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for range 4 {
		h.submit(alice, echo)
	}
	first := h.call("GET", "/v1/jobs?limit=2", alice, "").want(200).json()
	second := h.call("GET", fmt.Sprintf("/v1/jobs?limit=2&cursor=%v", first["next_cursor"]), alice, "").want(200).json()
	if n := len(second["data"].([]any)); n != 2 || second["next_cursor"] != nil {
		t.Errorf("%d jobs, next %v", n, second["next_cursor"])
	}
}

func TestProgressHasTwoPlacesAndEndsAtAHundred(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	for _, test := range []struct {
		state job.State
		want  string
	}{{job.Active, `"progress":{"percent":80,`}, {job.Completed, `"progress":{"percent":100,`}} {
		h.ledger.set(id, func(j *job.Job) { j.State, j.Progress = test.state, &job.Progress{Percent: 80.0000278} })
		if a := h.call("GET", "/v1/jobs/"+id.String(), alice, ""); !strings.Contains(a.body, test.want) {
			t.Errorf("%s: %s", test.state, a.body)
		}
	}
}

func TestTheAPIWorksBelowAPath(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = "https://example.com/waybill" })
	get := func(path string, header ...string) *http.Response {
		rec := httptest.NewRecorder()
		h.api.Handler().ServeHTTP(rec, h.request("GET", path, "", http.NoBody, header...))
		return rec.Result()
	}
	for _, path := range []string{"/waybill/healthz", "/healthz", "/waybill/docs", "/docs"} {
		if got := get(path).StatusCode; got != 200 {
			t.Errorf("%s: %d", path, got)
		}
	}
	for path, want := range map[string]string{"/waybill": "/waybill/docs", "/waybill/": "/waybill/docs",
		"/waybill/monitor": "/waybill/login?next=%2Fmonitor",
		"/monitor/queues":  "/waybill/login?next=%2Fmonitor%2Fqueues"} {
		if got := get(path, "Accept", "text/html").Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/waybillx/healthz", "/waybill/waybill/healthz", "/waybill%2Fhealthz"} {
		if got := get(path).StatusCode; got != 404 {
			t.Errorf("%s: %d", path, got)
		}
	}
	rec := httptest.NewRecorder()
	h.api.Handler().ServeHTTP(rec, h.request("POST", "/waybill/v1/jobs", alice, strings.NewReader(echo)))
	if got := rec.Header().Get("Location"); !strings.HasPrefix(got, "/waybill/v1/jobs/") {
		t.Errorf("a job is at %q", got)
	}
	page, _ := io.ReadAll(get("/waybill/login?next=/waybill/monitor/queues/a").Body)
	if !bytes.Contains(page, []byte(`action="/waybill/login"`)) ||
		!bytes.Contains(page, []byte(`value="/monitor/queues/a"`)) {
		t.Errorf("%s", page)
	}
	if !bytes.Contains(h.api.pageOf(t), []byte("/waybill/monitor/static/")) {
		t.Error("the monitor's page does not load from below the path")
	}
}

// pageOf is the monitor's page as a viewer gets it.
func (a *API) pageOf(t *testing.T) []byte {
	t.Helper()
	b, err := newMonitorPage(a.base, newAsynqmon(a.base, a.deps.Redis, true, false))
	if err != nil {
		t.Fatal(err)
	}
	return b.before
}

func TestASignInFromAnUnknownOriginSaysWhichSettingIsMissing(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{"": "WAYBILL_PUBLIC_URL=https://jobs.lan",
		"https://other.lan": "WAYBILL_PUBLIC_URL says that this server is reached at https://other.lan"} {
		h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = url })
		rec := httptest.NewRecorder()
		req := h.request(
			"POST",
			"/login",
			"",
			strings.NewReader("email=a&password=b"),
			"Origin",
			"https://jobs.lan",
			"Accept",
			"text/html",
			"Content-Type",
			"",
			"Content-Type",
			"application/x-www-form-urlencoded",
		)
		req.Host = "api:8080"
		h.api.Handler().ServeHTTP(rec, req)
		if rec.Code != 403 || !strings.Contains(rec.Body.String(), want) ||
			!strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%q: %d %s", url, rec.Code, rec.Body)
		}
	}
}

func TestALongBodyMayTakeTheTimeThatItNeedsAtTheSlowestRate(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	const timeout = 300 * time.Millisecond
	addr := h.serve(func(s *http.Server) { s.ReadTimeout = timeout })
	body := fmt.Sprintf(`{"type":"debug.echo","payload":{"a":"%s"}}`, strings.Repeat("x", 200<<10))
	conn := stalled(
		t,
		addr,
		fmt.Sprintf(
			"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Type: "+
				"application/json\r\nContent-Length: %d\r\n\r\n",
			len(body),
		),
	)
	half := len(body) / 2
	_, _ = io.WriteString(conn, body[:half])
	began := time.Now()
	testenv.Eventually(t, time.Minute, func() bool { return time.Since(began) > 2*timeout }, "time stands still")
	_, _ = io.WriteString(conn, body[half:])
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode != 202 {
		t.Errorf("status %d", res.StatusCode)
	}
}
