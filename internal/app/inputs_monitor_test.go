package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// browse signs in on the sign-in page and answers the cookie.
func (b *bench) browse(p *person) (cookie string) {
	b.Helper()
	form := url.Values{"email": {p.Email}, "password": {p.password}}.Encode()
	r := b.ask(ask{method: "POST", path: "/login", media: "application/x-www-form-urlencoded", body: form}).want(b, 303)
	cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
	_, secret, _ := strings.Cut(cookie, "=")
	*b.secrets = append(*b.secrets, secret)
	return cookie
}

// monitored is a deployment with a job that was given up and one that waits, and the asynq tasks of
// both.
func monitored(t *testing.T) (b *bench, archived, scheduled string) {
	t.Helper()
	redis := testenv.Redis(t)
	b = newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+redis.URL)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	archived, scheduled = b.submit(`{"type":"debug.fail","payload":{"permanent":true}}`), b.submit(with(`"delay":"1h"`))
	b.finished(archived)
	inspector := asynq.NewInspector(asynq.RedisClientOpt{Addr: redis.Addr})
	t.Cleanup(func() { _ = inspector.Close() })
	testenv.EventuallyNoError(t, 10*time.Second, func() error {
		for _, id := range []string{archived, scheduled} {
			if _, err := inspector.GetTaskInfo("default", id+".1"); err != nil {
				return err
			}
		}
		return nil
	}, "the tasks are not in Redis")
	return b, archived, scheduled
}

func TestTheMonitorIsForThoseWhoMay(t *testing.T) {
	t.Parallel()
	b, archived, scheduled := monitored(t)
	user, viewer, operator := b.browse(
		b.join("ann", "user"),
	), b.browse(
		b.join("vic", "viewer"),
	), b.browse(
		b.join("olga", "operator"),
	)
	bearer := b.join("oscar", "operator").access
	deeds := []ask{
		{method: "POST", path: "/monitor/api/queues/default/archived_tasks/" + archived + ".1:run"}, {method: "DELETE",
			path: "/monitor/api/queues/default/archived_tasks/" + archived + ".1"},
		{method: "POST", path: "/monitor/api/queues/default/scheduled_tasks/" + scheduled + ".1:run"}, {method: "POST",
			path: "/monitor/api/queues/default/scheduled_tasks/" + scheduled + ".1:archive"},
		{method: "DELETE", path: "/monitor/api/queues/default/scheduled_tasks/" + scheduled + ".1"}, {method: "DELETE",
			path: "/monitor/api/queues/default/archived_tasks:delete_all"},
		{
			method: "POST",
			path:   "/monitor/api/queues/default/scheduled_tasks:run_all",
		}, {method: "POST", path: "/monitor/api/queues/default:pause"}, {method: "DELETE",
			path: "/monitor/api/queues/default"},
	}
	looks := []string{
		"/monitor",
		"/monitor/",
		"/monitor/queues/default",
		"/monitor/api/queues",
		"/monitor/api/queues/default/archived_tasks",
		"/monitor/api/servers",
		"/monitor/api/redis_info",
	}
	before := b.census()
	for _, path := range looks {
		if r := b.ask(ask{path: path,
			head: []string{"Accept: text/html"}}); r.status != 303 && r.status != 401 || r.status == 303 &&
			!strings.HasPrefix(r.header.Get("Location"), "/login?next=") {
			t.Errorf("%s without sign-in: %d to %s", path, r.status, r.header.Get("Location"))
		}
		b.ask(ask{path: path, head: []string{"Cookie: " + user}}).want(b, 403)
		b.ask(ask{path: path, head: []string{"Cookie: " + viewer}}).want(b, 200)
		if r := b.ask(ask{path: path, as: bearer}); r.status == 200 {
			t.Errorf("%s: a token is taken for a sign-in", path)
		}
		if r := b.ask(ask{path: path, head: []string{"Cookie: " + strings.Repeat("x", 100) + "; " +
			viewer[:len(viewer)-1]}}); r.status == 200 {
			t.Errorf("%s: a cut cookie is taken", path)
		}
	}
	for _, deed := range deeds {
		for who, head := range map[string][]string{
			"nobody": nil, "a user": {"Cookie: " + user}, "a viewer": {"Cookie: " + viewer},
			"a viewer from our page": {"Cookie: " + viewer,
				"Sec-Fetch-Site: same-origin", "Origin: http://" + b.addr},
			"an operator from elsewhere": {"Cookie: " + operator, "Origin: https://evil.example"},
			"an operator from a sandbox": {"Cookie: " + operator, "Origin: null"},
			"an operator from a neighbour": {"Cookie: " + operator, "Origin: http://" + b.addr,
				"Sec-Fetch-Site: same-site"},
			"an operator, says the browser, from elsewhere": {"Cookie: " + operator, "Sec-Fetch-Site: cross-site"},
		} {
			deed.head, deed.media = head, "-"
			if r := b.ask(deed); r.status != 403 && !(head == nil && r.status == 401) {
				t.Errorf("%s: %s %s: %d", who, deed.method, deed.path, r.status)
			}
		}
		deed.head, deed.as = nil, bearer
		if r := b.ask(deed); r.status/100 == 2 {
			t.Errorf("%s %s with a token: %d", deed.method, deed.path, r.status)
		}
	}
	if after := b.census(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	if v := b.job(scheduled); v.State != job.Scheduled {
		t.Errorf("the waiting job is %s", v.State)
	}
	if v := b.job(archived); v.State != job.Archived {
		t.Errorf("the archived job is %s", v.State)
	}
	// So that the refusals above mean something: who may, can, and the ledger knows.
	b.ask(ask{method: "POST", path: deeds[3].path, media: "-",
		head: []string{"Cookie: " + operator, "Origin: http://" + b.addr}}).
		want(b, 204)
	if v := b.job(scheduled); v.State != job.Archived {
		t.Errorf("archived in the monitor, it is %s", v.State)
	}
}

func TestThereIsNoWayAroundTheSignIn(t *testing.T) {
	t.Parallel()
	b, archived, _ := monitored(t)
	before := b.census()
	for _, path := range []string{
		"/monitor/../v1/users", "/monitor/../monitor/api/queues", "/v1/../monitor/api/queues",
		"/login/../monitor/api/queues", "/monitor/%2e%2e/v1/users",
		"/login/%2e%2e/monitor", "/monitor/..%2fv1/users", "/docs/..%2fmonitor/api/queues",
		"//monitor", "//monitor/api/queues", "/monitor//api/queues", "/monitor/api//queues", "/./monitor/api/queues",
		"/monitor/./api/queues", "/Monitor/api/queues",
		"/monitor/api/queues%00", "/monitor%2fapi%2fqueues", "/%6donitor/api/queues",
		"/monitor;/api/queues", "/monitor/api/queues;x=1", "/monitor\\api\\queues", "/monitor/api/queues/..",
		"/monitor/static/../api/queues",
		"/monitor/static/..%2f..%2fapi/queues", "/monitor.", "/monitorx/api/queues", "http://" + "x/monitor/api/queues",
		"/monitor?next=/monitor/api/queues", "/monitor/api/queues#", "/healthz/../monitor/api/queues",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := b.ask(ask{method: method, path: path, media: "-"})
			if r.status == 200 || r.status == 204 || strings.Contains(r.body, `"queues"`) {
				t.Errorf("%s %s: %d %.100s", method, path, r.status, r.body)
			}
		}
	}
	for _, next := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/monitor/../v1",
		"javascript:alert(1)", "/monitor//evil.example",
		"/v1/users", "%0d%0aSet-Cookie:x=y", "http:evil.example", "/monitor\r\nX: y"} {
		form := url.Values{"email": {b.admin.Email}, "password": {b.admin.password}, "next": {next}}.Encode()
		r := b.ask(ask{method: "POST", path: "/login", media: "application/x-www-form-urlencoded", body: form}).
			want(b, 303)
		if to := r.header.Get("Location"); !strings.HasPrefix(to, "/monitor") || strings.Contains(to, "evil") ||
			strings.Contains(to, "..") {
			t.Errorf("%q leads to %q", next, to)
		}
	}
	if v := b.job(archived); v.State != job.Archived {
		t.Errorf("the archived job is %s", v.State)
	}
	if after := b.census(); strings.Split(after, "users")[0] != strings.Split(before, "users")[0] {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

func TestHeadersAndURLsBeyondReasonAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := strings.Repeat("a", 100<<10)
	b.try([]input{
		{
			"a header of 100 KB",
			ask{path: "/v1/jobs", as: b.admin.key, head: []string{"X-Long: " + long}},
			431,
			"",
		}, {"a header of 300 KB", ask{path: "/v1/jobs",
			as: b.admin.key, head: []string{"X-Long: " + long + long + long}}, 431, ""},
		{
			"a header name of 100 KB",
			ask{path: "/v1/jobs", as: b.admin.key, head: []string{long + ": x"}},
			431,
			"",
		}, {"10,000 headers", ask{path: "/healthz",
			head: []string{strings.Repeat("X-A: b\r\n", 10_000) + "X-A: b"}}, 431, ""},
		{
			"a URL of 100 KB",
			ask{path: "/v1/jobs?type=" + long, as: b.admin.key},
			414,
			"",
		}, {"a path of 100 KB", ask{path: "/v1/jobs/" + long, as: b.admin.key}, 414, ""},
		{"a path of 9 KB", ask{path: "/" + long[:9<<10]}, 414, ""},
		{"a cookie of 100 KB", ask{path: "/monitor", head: []string{"Cookie: waybill=" + long}}, 431, ""},
		{
			"a header name with a space",
			ask{path: "/healthz", head: []string{"X A: b"}},
			400,
			"",
		}, {"a header without a name", ask{path: "/healthz",
			head: []string{
				": b",
			}}, 400, ""}, {"a header without a colon", ask{path: "/healthz", head: []string{"nonsense"}}, 400, ""},
		{
			"NUL in a header",
			ask{path: "/healthz", head: []string{"X-A: \x00"}},
			400,
			"",
		}, {"two hosts", ask{path: "/healthz", head: []string{"Host: evil.example"}}, 400,
			""},
		{"a host that is none", ask{path: "/healthz", head: []string{"X-Forwarded-Host: evil.example"}}, 200, ""},
		{
			"a space in the path",
			ask{path: "/a b"},
			400,
			"",
		}, {"a control character in the path", ask{path: "/a\x01b"}, 400, ""}, {"a line break in the path",
			ask{path: "/healthz HTTP/1.1\r\nX: y\r\nZ:"}, 200, ""},
	})
	for name, text := range map[string]string{"no version": "GET /healthz\r\n\r\n",
		"HTTP/3.0": "GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n",
		"no host":  "GET /healthz HTTP/1.1\r\n\r\n", "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"junk":              "\x00\x00\x00\r\n\r\n",
		"SSH":               "SSH-2.0-x\r\n\r\n",
		"HTTP/2 said aloud": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		r, err := send(b.addr, "GET", text)
		if err != nil {
			continue // cut off without an answer, which is one
		}
		if b.checkReply(r); r.status/100 != 4 && r.status != 505 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	b.ask(ask{path: "/healthz"}).want(b, 200)
}

func TestHeadersThatTrickleInAreCutOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const patience = 15 * time.Second // the server's own is 5 s
	eachDone(20, 20, func(i int) {
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		began := time.Now()
		go func() {
			_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n")
			for n := 0; err == nil; n++ {
				<-time.After(200 * time.Millisecond)
				_, err = fmt.Fprintf(conn, "X-%d: slowly\r\n", n)
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("connection %d: %d", i, resp.StatusCode)
			}
		}
		if took := time.Since(began); took > patience-time.Second {
			t.Errorf("connection %d was held for %v", i, took)
		}
	})
	b.ask(ask{path: "/healthz"}).want(b, 200)
}
