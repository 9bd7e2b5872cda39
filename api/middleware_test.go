package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// lastLine is the newest line of the log that says msg.
func (h *apiTest) lastLine(msg string) map[string]any {
	h.t.Helper()
	var line map[string]any
	lines := bufio.NewScanner(strings.NewReader(h.log.String()))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l map[string]any
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			h.t.Fatal(err)
		}
		if l["msg"] == msg {
			line = l
		}
	}
	if line == nil {
		h.t.Fatalf("the log does not say %q: %s", msg, h.log)
	}
	return line
}

func TestTheLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.call("GET", "/v1/jobs?owner=all&cursor=TOPSECRET", viewer, "")
	h.call(
		"POST",
		"/v1/jobs",
		"TOPSECRET",
		`{"payload":"TOPSECRET"}`,
		"Idempotency-Key",
		"TOPSECRET",
		"Cookie",
		"TOPSECRET",
		"X-Request-ID",
		"TOPSECRET",
	)
	h.call("POST", "/v1/jobs", alice, `{"type":"debug.echo","payload":{"a":"TOPSECRET"},"x":"TOPSECRET"}`)
	if strings.Contains(h.log.String(), "TOPSECRET") {
		t.Error(h.log)
	}
	line := h.lastLine("request")
	if line["route"] != "/v1/jobs" || line["status"] != 422.0 ||
		line["user_id"] != h.auth.principals[alice].UserID.String() {
		t.Errorf("%v", line)
	}
}

func TestWhatStrangersSayOfThemselvesIsIgnored(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	for peer, want := range map[string]string{"203.0.113.9:1": "203.0.113.9", "10.1.2.3:1": "198.51.100.7"} {
		req := h.request(
			"GET",
			"/healthz",
			"",
			http.NoBody,
			"X-Request-ID",
			"mine",
			"X-User-ID",
			"admin",
			"X-Real-IP",
			"6.6.6.6",
			"X-Forwarded-For",
			"1.1.1.1",
			"X-Forwarded-For",
			"198.51.100.7, 10.9.9.9",
		)
		req.RemoteAddr = peer
		a := h.do(req).want(200)
		if line := h.lastLine("request"); line["ip"] != want || line["request_id"] != a.header.Get("X-Request-ID") {
			t.Errorf("%s: %v", peer, line)
		}
	}
}

func TestAnswersToUsersAreNotKept(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/v1/jobs", "/v1/task-types", "/v1/jobs?limit=0"} {
		if got := h.call("GET", path, alice, "").header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// route adds a route of the test's own; it must be called before the first request.
func (h *apiTest) route(r route) {
	h.api.routes = append(h.api.routes, r)
	engine, err := h.api.newEngine()
	if err != nil {
		h.t.Fatal(err)
	}
	h.api.engine = engine
}

func TestAPanicIsAnsweredLoggedAndForgotten(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.route(
		route{
			Method:  "GET",
			Path:    "/panic",
			Public:  true,
			Handler: func(*gin.Context) (any, error) { panic("secret inside") },
		},
	)
	h.route(route{Method: "GET", Path: "/half", Public: true, Raw: func(c *gin.Context) {
		_, _ = c.Writer.WriteString("half an ans")
		panic("secret inside")
	}})
	h.call("GET", "/panic", "", "").want(500)
	line := h.lastLine("handler panicked")
	if line["panic"] != "secret inside" || !strings.Contains(line["stack"].(string), "middleware_test.go") {
		t.Errorf("%v", line)
	}
	server := httptest.NewServer(h.api.Handler())
	defer server.Close()
	res, err := http.Get(server.URL + "/half")
	if err == nil {
		_, err = res.Body.Read(make([]byte, 100))
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("half an answer is taken for a whole one")
	}
	h.call("GET", "/healthz", "", "").want(200)
}

// receive takes what comes from c, and gives up where nothing does.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

func TestTooManyAtOnceAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.MaxInFlight, h.cfg.MaxWaiters = 2, 1 })
	busy, free := make(chan struct{}), make(chan struct{})
	h.route(route{Method: "GET", Path: "/busy", Public: true, Handler: func(*gin.Context) (any, error) {
		busy <- struct{}{}
		<-free
		return nil, nil
	}})
	id := h.submit(alice, echo)
	waiting := make(chan int)
	go func() { waiting <- h.call("GET", "/v1/jobs/"+id.String()+"?wait=60s", alice, "").status }()
	receive(t, h.ledger.waiting) // one waits, which takes no place
	h.call("GET", "/v1/jobs/"+id.String()+"?wait=60s", alice, "").want(503)
	for range 2 {
		go func() {
			_ = h.api.Handler
			h.api.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/busy", nil))
		}()
		receive(t, busy)
	}
	if a := h.call("GET", "/v1/jobs", alice, "").want(503); a.header.Get("Retry-After") != "1" {
		t.Errorf("%v", a.header)
	}
	h.call("GET", "/healthz", "", "").want(200)
	h.call("GET", "/readyz", "", "").want(200)
	close(free)
	h.ledger.set(id, func(j *job.Job) { j.State = job.Completed })
	if got := receive(t, waiting); got != 200 {
		t.Errorf("the waiting one: %d", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	for h.api.bound.working.Load() != 0 || h.api.bound.waiting.Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatal("places are not given back")
		}
		time.Sleep(time.Millisecond)
	}
	h.call("GET", "/v1/jobs", alice, "").want(200)
}

func TestPagesOfOtherOriginsAreHeldOffUnlessConfigured(t *testing.T) {
	t.Parallel()
	const ours = "https://app.example.com"
	off, on := newAPITest(t), newAPITest(t, func(h *apiTest) { h.cfg.CORSOrigins = []string{ours} })
	if got := off.call("GET", "/v1/jobs", alice, "", "Origin",
		ours).header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("off, but allowed: %s", got)
	}
	if got := on.call("GET", "/v1/jobs", alice, "", "Origin",
		ours).header.Get("Access-Control-Allow-Origin"); got != ours {
		t.Errorf("on, but allowed: %q", got)
	}
	for _, origin := range []string{"https://evil.example", "null", ours + ".evil.example", "http://app.example.com"} {
		a := on.call("GET", "/v1/jobs", alice, "", "Origin", origin)
		if a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "Origin" {
			t.Errorf("%s: %v", origin, a.header)
		}
		on.call("OPTIONS", "/v1/jobs", "", "", "Origin", origin, "Access-Control-Request-Method", "POST").want(405)
	}
	req := on.request("OPTIONS", "/v1/jobs", "", http.NoBody, "Origin", ours, "Access-Control-Request-Method", "POST")
	rec := httptest.NewRecorder()
	on.api.Handler().ServeHTTP(rec, req)
	if rec.Code != 204 || !strings.Contains(rec.Header().Get("Access-Control-Allow-Headers"), "Authorization") ||
		rec.Header().Get("Allow") != "" {
		t.Errorf("preflight: %d %v", rec.Code, rec.Header())
	}
}

func TestReadinessNamesWhatIsMissingAndNothingMore(t *testing.T) {
	t.Parallel()
	var down error
	h := newAPITest(t, func(h *apiTest) {
		h.ready = []Check{
			{"postgres", func(context.Context) error { return nil }},
			{"redis", func(context.Context) error { return down }},
			{"odd", func(context.Context) error { panic("secret") }},
		}
	})
	h.api.routes = nil
	h.ready[2].Ready = func(context.Context) error { return nil }
	h.route(newHealthHandler(h.deps()).routes()[1])
	h.call("GET", "/readyz", "", "").want(200)
	down = errors.New("dial tcp 10.0.0.7:6379: refused")
	h.call("GET", "/readyz", "", "").want(200) // asked a moment ago
	h.clock.add(checkEvery)
	h.ready[2].Ready = func(context.Context) error { panic("secret") }
	if p := h.call("GET", "/readyz", "", "").want(503).problem(); p.Detail != "not ready: redis, odd" {
		t.Errorf("%+v", p)
	}
	h.call("GET", "/healthz", "", "").want(404)
	if line := h.lastLine("not ready"); line["missing"] != "redis, odd" {
		t.Errorf("%v", line)
	}
	down = nil
	h.ready[2].Ready = func(context.Context) error { return nil }
	h.clock.add(checkEvery)
	h.call("GET", "/readyz", "", "").want(200)
	h.lastLine("ready again")
}

func TestAMissingDependencyOrAWrongSettingFailsTheStart(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	_, err := New(Config{MaxBody: -1, CORSOrigins: []string{"*"}}, Deps{})
	for _, want := range []string{"queue", "limit", "origin", "auth", "jobs", "dispatcher", "audit", "tasks", "log"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named: %v", want, err)
		}
	}
	if _, err := New(h.cfg, h.deps()); err != nil {
		t.Error(err)
	}
}

// serve runs the API's own server on a port of its own.
func (h *apiTest) serve(change func(*http.Server)) string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	server := h.api.Server()
	change(server)
	go func() { _ = server.Serve(l) }()
	h.t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func TestURLsAndHeadersBeyondReasonAreRefusedAsProblems(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	base := "http://" + h.serve(func(*http.Server) {})
	get := func(path, header string) int {
		req, err := http.NewRequest("GET", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Padding", header)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode >= 400 && res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d with %v", res.StatusCode, res.Header)
		}
		return res.StatusCode
	}
	for size, want := range map[int]int{8_000: 200, 9_000: 414, 100_000: 414} {
		if got := get("/healthz?"+strings.Repeat("a", size), ""); got != want {
			t.Errorf("URL of %d: %d, want %d", size, got, want)
		}
	}
	for size, want := range map[int]int{60_000: 200, 66_000: 431, 100_000: 431} {
		if got := get("/healthz", strings.Repeat("a", size)); got != want {
			t.Errorf("header of %d: %d, want %d", size, got, want)
		}
	}
}

func TestABodyThatIsTooSlowIsCutOff(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	addr := h.serve(func(s *http.Server) { s.ReadTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write(
		[]byte(
			"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Type: " +
				"application/json\r\nContent-Length: 100\r\n\r\n{",
		),
	)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 408 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestAWaitOutlastsTheServersReadTimeout(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	const timeout = 50 * time.Millisecond
	base := "http://" + h.serve(func(s *http.Server) { s.ReadTimeout = timeout })
	id := h.submit(alice, echo)
	go func() {
		<-h.ledger.waiting
		<-time.After(4 * timeout)
		h.ledger.set(id, func(j *job.Job) { j.State = job.Completed })
	}()
	req, _ := http.NewRequest("GET", base+"/v1/jobs/"+id.String()+"?wait=30s", nil)
	req.Header.Set("Authorization", "Bearer alice")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var got struct{ State job.State }
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != 200 ||
		got.State != job.Completed {
		t.Errorf("%d %+v %v", res.StatusCode, got, err)
	}
}
