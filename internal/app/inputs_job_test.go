package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
)

func TestWrongJobsAreRefusedWithThePlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	post := func(body string) ask { return ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: body} }
	long := strings.Repeat("x", 300)
	types := map[string]string{
		"unknown":                   "no.such",
		"a space":                   "debug echo",
		"a space after":             "debug.echo ",
		"another case":              "Debug.Echo",
		"a prefix":                  "debug",
		"a prefix with a dot":       "debug.",
		"something after":           "debug.echo.x",
		"300 characters":            long,
		"asynq's own marks":         "a/b:c{d}",
		"a wildcard":                "*",
		"a path":                    "../debug.echo",
		"SQL":                       "' OR 1=1 --",
		"a letter that looks alike": "debug.еcho",
		"a line break":              `debug.echo\n`,
		"empty":                     "",
		"what is not configured":    "command.run",
	}
	for name, typ := range types {
		b.try([]input{{"type " + name, post(`{"type":"` + typ + `","payload":{}}`), 422, `"/type"`}})
	}
	for name, queue := range map[string]string{"unknown": "no-such", "empty": "", "Redis's marks": `\"}x{\"`,
		"a line break": `default\n`, "1 KB": strings.Repeat("q",
			1024), "another case": "Default",
		"a wildcard": "*", "a hash tag": "{default}", "asynq's key": "asynq:{default}:pending", "a space": " default"} {
		b.try([]input{{"queue " + name, post(with(`"queue":"` + queue + `"`)), 422, `"/queue"`}})
	}
	for pointer, values := range map[string][]string{
		"/max_retries": {`-1`, `1.5`, `1e9`, `"3"`, `1001`, `9223372036854775808`, `true`, `[]`, `1e0`, `-0.5`},
		"/timeout": {`0`, `-1`, `"0s"`, `"-1s"`, `"500 years"`, `"4380000h"`, `"9999999999999h"`, `30`, `""`,
			`"30"`, `"1ms"`, `{}`},
		"/delay": {`"-1s"`, `"0s"`, `"90"`, `90`, `"1e9h"`, `"87600h"`, `"NaN"`, `" 1s"`},
		"/run_at": {`"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"2027-02-30T00:00:00Z"`,
			`"2027-02-03T00:00:00"`, `"2027-02-03"`, `"tomorrow"`, `1893456000`,
			`"2027-02-03T25:00:00Z"`, `"2027-02-03T00:00:00+25:00"`, `"2027-02-03t00:00:00z"`,
			`"+002027-02-03T00:00:00Z"`, `"2027-02-03T00:00:60Z"`},
		"/deadline":     {`"2020-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"soon"`, `0`},
		"/backoff":      {`"10s"`, `[]`, `5`},
		"/backoff/kind": {`{"kind":"linear"}`, `{"kind":7}`, `{"kind":"Fixed"}`},
		"/backoff/base": {`{"base":"0s"}`, `{"base":"-1s"}`, `{"base":"9999h"}`, `{"base":5}`},
		"/backoff/max":  {`{"max":"9999h"}`, `{"base":"1h","max":"1m"}`},
		"/labels":       {`[]`, `"x"`, `7`},
		"/labels/k":     {`{"k":7}`, `{"k":null}`, `{"k":["v"]}`, `{"k":"` + long + `"}`},
		"/labels/K":     {`{"K":"v"}`},
	} {
		for _, v := range values {
			field := strings.Split(pointer, "/")[1]
			b.try(
				[]input{
					{
						fmt.Sprintf("%s %.40s", field, v),
						post(with(`"` + field + `":` + v)),
						422,
						`"pointer":"` + pointer + `"`,
					},
				},
			)
		}
	}
	var labels []string
	for i := range 21 {
		labels = append(labels, fmt.Sprintf(`"k%d":"v"`, i))
	}
	b.try([]input{
		{"delay and run_at", post(with(`"delay":"90s","run_at":"2027-01-01T00:00:00Z"`)), 422, `"/delay"`},
		{
			"a deadline before run_at",
			post(with(`"delay":"48h","deadline":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`)),
			422,
			`"/deadline"`,
		},
		{"21 labels", post(with(`"labels":{` + strings.Join(labels, ",") + `}`)), 422, `"/labels`},
		{
			"a payload of 257 KB",
			post(`{"type":"debug.echo","payload":{"a":"` + strings.Repeat("x", job.MaxPayload) + `"}}`),
			422,
			`"/payload"`,
		},
		{"a payload that is a list", post(`{"type":"debug.echo","payload":[]}`), 422, `"/payload"`},
		{"no payload", post(`{"type":"debug.echo"}`), 422, `"/payload"`},
		{
			"a payload of another type",
			post(`{"type":"debug.sleep","payload":{"duration":3}}`),
			422,
			`"/payload/duration"`,
		},
	})
	if n := b.count(`SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestARunAtInThePastRunsAtOnce(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, newGround(t)...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	for _, at := range []string{"2001-01-01T00:00:00Z", "2020-02-29T23:59:59.999999999+14:00",
		time.Now().Add(-time.Second).UTC().Format(time.RFC3339)} {
		if v := b.finished(b.submit(with(`"run_at":"` + at + `"`))); v.State != job.Completed {
			t.Errorf("%s: %s", at, v.State)
		}
	}
}

func TestWrongListsAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann, bob := b.join("ann", "user"), b.join("bob", "viewer")
	for _, p := range []*person{ann, ann, bob} {
		b.ask(ask{method: "POST", path: "/v1/jobs", as: p.access, body: echo}).want(b, 202)
	}
	var page struct {
		Next string `json:"next_cursor"`
	}
	b.read(b.ask(ask{path: "/v1/jobs?limit=1", as: ann.access}).want(b, 200), &page)
	b.ask(ask{path: "/v1/jobs?limit=1&cursor=" + page.Next, as: ann.access}).want(b, 200)
	for _, query := range []string{
		"limit=-1", "limit=0", "limit=201", "limit=1e9", "limit=1000000000", "limit=9223372036854775808", "limit=",
		"limit=5&limit=6", "limit=0x10", "limit=5.0",
		"limit=%20" + "5",
		"cursor=garbage", "cursor=AAAA", "cursor=%00", "cursor=", "cursor=" + strings.Repeat("A", 1000), "cursor=" +
			page.Next, "cursor=" + page.Next + "=",
		"cursor=" + page.Next + "&state=pending",
		"cursor=" + strings.ToLower(page.Next), "state=queued", "state=queued'%20or%20'1'='1", "state=PENDING",
		"state=pending,retry", "state=pending&state=retry",
		"state[]=pending", "state=%00", "state=%ff",
		"type=a/b", "type=%00", "type=debug.echo'--", "type=debug.echo&type=debug.echo", "queue=a%20b", "queue=%7Bx%7D",
		"queue=%22%7Dx%7B%22", "label.=x", "label.A=x",
		"label=x", "label.k=", "label.k=a&label.k=b",
		"label.k=" + strings.Repeat("v", 256), "label.a'b=1", "created_after=yesterday", "created_after=2026-01-01",
		"created_after=0001-01-01T00:00:00Z",
		"created_after=2026-02-30T00:00:00Z", "owner=me",
		"unknown=1", "State=pending", "a=%zz", "a;b=1", "%00=1", "offset=5", "order=id%20desc", "=x", "&&x",
	} {
		b.try([]input{{fmt.Sprintf("%.60s", query), ask{path: "/v1/jobs?" + query, as: bob.access}, 400, ""}})
	}
	for _, path := range []string{"/v1/api-keys", "/v1/users", "/v1/audit"} {
		for _, query := range []string{"limit=-1", "limit=0", "limit=1e9", "limit=9223372036854775808",
			"cursor=garbage", "cursor=" + page.Next, "limit=1&limit=2", "x=1",
			"a=%zz"} {
			b.try(
				[]input{
					{
						path + "?" + fmt.Sprintf("%.30s", query),
						ask{path: path + "?" + query, as: b.token(b.admin)},
						400,
						"",
					},
				},
			)
		}
	}
	b.try([]input{
		{"everybody's, as user", ask{path: "/v1/jobs?owner=all", as: ann.access}, 403, ""},
		{"a wait that is none", ask{path: "/v1/jobs/" + b.submit(echo) + "?wait=soon", as: b.admin.key}, 400, ""},
	})
}

func TestIDsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann, bob := b.join("ann", "user"), b.join("bob", "user")
	var made view
	b.read(b.ask(ask{method: "POST", path: "/v1/jobs", as: bob.access, body: with(`"delay":"1h"`)}).want(b, 202), &made)
	id := made.ID
	ids := map[string]string{
		"a word":       "x",
		"upper case":   strings.ToUpper(id),
		"the nil UUID": "00000000-0000-0000-0000-000000000000",
		"the largest":  "ffffffff-ffff-ffff-ffff-ffffffffffff",
		"version 4":    "8e6f1b8e-7a36-4f0e-9d0a-0f4a8f6a7a10",
		"NUL":          "%00",
		"NUL after":    id + "%00",
		"cut off":      id[:35],
		"no hyphens":   strings.ReplaceAll(id, "-", ""),
		"braces":       "%7B" + id + "%7D",
		"URN":          "urn:uuid:" + id,
		"5 KB": strings.Repeat(
			"a",
			5000,
		),
		"up":              "..%2f..%2fusers",
		"SQL":             "'%20or%20''='",
		"a line break":    id + "%0a",
		"a space":         id + "%20",
		"a slash":         id + "%2f",
		"nobody's":        job.NewID().String(),
		"somebody else's": id,
		"invalid UTF-8":   "%ff%fe",
		"a half escape":   "%",
		"a wrong escape":  "%zz",
		"a bar":           "|",
		"unicode":         "%F0%9F%98%80",
	}
	for name, one := range ids {
		for _, to := range []ask{{path: "/v1/jobs/" + one}, {method: "POST", path: "/v1/jobs/" + one + "/cancel"},
			{method: "POST", path: "/v1/jobs/" + one + "/retry"},
			{method: "DELETE", path: "/v1/api-keys/" + one}} {
			to.as = ann.access
			t.Run(to.method+" "+name, func(t *testing.T) {
				b := b.in(t)
				before := b.census()
				if r := b.ask(to); r.status != 404 && r.status != 400 {
					t.Errorf("%d: %s", r.status, r.body)
				}
				if after := b.census(); after != before {
					t.Error("something changed")
				}
			})
		}
		b.try(
			[]input{
				{
					"user " + name,
					ask{method: "PATCH", path: "/v1/users/" + one, as: b.token(b.admin), body: `{"disabled":true}`},
					choose(strings.ContainsAny(name,
						"%") || name == "a half escape" || name == "a wrong escape", 400, 404),
					"",
				},
			},
		)
	}
	if v := b.job(id); v.State != job.Scheduled {
		t.Errorf("bob's job is %s", v.State)
	}
}

func choose[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func TestWrongMethodsAreToldTheRightOnes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.submit(with(`"delay":"1h"`))
	allowed := map[string]string{
		"/v1/jobs": "GET HEAD POST", "/v1/jobs/batch": "", "/v1/jobs/" + id: "GET HEAD", "/v1/jobs/" + id +
			"/cancel": "POST", "/v1/jobs/" + id + "/retry": "POST",
		"/v1/auth/register": "POST", "/v1/auth/login": "POST", "/v1/auth/refresh": "POST", "/v1/auth/logout": "POST",
		"/v1/me":          "GET HEAD PATCH",
		"/v1/me/password": "POST",
		"/v1/api-keys":    "GET HEAD POST", "/v1/api-keys/" + id: "DELETE", "/v1/task-types": "GET HEAD",
		"/v1/task-types/debug.echo": "GET HEAD",
		"/v1/queues":                "GET HEAD", "/v1/queues/low/pause": "POST", "/v1/queues/low/resume": "POST",
		"/v1/users": "GET HEAD POST", "/v1/users/" + id: "PATCH",
		"/v1/audit": "GET HEAD",
		"/healthz":  "GET HEAD", "/readyz": "GET HEAD", "/metrics": "GET HEAD", "/openapi.yaml": "GET HEAD",
		"/docs": "GET HEAD", "/login": "GET HEAD POST",
		"/logout": "POST",
	}
	before := b.census()
	for path, methods := range allowed {
		if methods == "" {
			continue
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
			"PROPFIND", "get", "X"} {
			if slices.Contains(strings.Fields(methods), method) {
				continue
			}
			r := b.ask(ask{method: method, path: path, as: b.admin.key, media: "-"})
			got := strings.Fields(strings.ReplaceAll(r.header.Get("Allow"), ",", " "))
			slices.Sort(got)
			if method == "CONNECT" && r.status == 404 || method == "CONNECT" && r.status == 400 {
				continue // its target is no path
			}
			if r.status != http.StatusMethodNotAllowed || strings.Join(got, " ") != methods {
				t.Errorf("%s %s: %d with Allow %q, want %q", method, path, r.status, got, methods)
			}
		}
	}
	for _, path := range []string{"/v1", "/v1/", "/v1/jobs/", "//v1/jobs", "/v1//jobs", "/V1/jobs", "/v1/jobs/" + id +
		"/", "/v1/jobs/" + id + "/cancel/", "/v2/jobs",
		"/v1/../v1/jobs", "/v1/./jobs", "/admin", "/.env", "/debug/pprof/", "/%00", "/v1/jobs%2f" + id,
		"/" + strings.Repeat("a", 5000)} {
		if r := b.ask(ask{path: path, as: b.admin.key}); r.status != 404 {
			t.Errorf("%.60s: %d", path, r.status)
		}
	}
	if r := b.ask(ask{method: "OPTIONS", path: "*", media: "-"}); r.status/100 != 4 {
		t.Errorf("OPTIONS *: %d", r.status)
	}
	if after := b.census(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

func TestWhatTheStateForbidsIsAConflictThatNamesIt(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, newGround(t)...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	act := func(id, verb string) reply {
		return b.ask(ask{method: "POST", path: "/v1/jobs/" + id + "/" + verb, as: b.admin.key, media: "-"})
	}
	conflict := func(id, verb string, s job.State) {
		t.Helper()
		before := b.census()
		var p problem
		b.read(act(id, verb).want(b, 409), &p)
		if p.Code != job.CodeConflict || p.State != s {
			t.Errorf("%s: %+v", verb, p)
		}
		if after := b.census(); after != before {
			t.Errorf("%s changed something:\n%s\n%s", verb, before, after)
		}
	}
	completed := b.submit(echo)
	b.finished(completed)
	conflict(completed, "cancel", job.Completed)
	conflict(completed, "retry", job.Completed)
	archived := b.submit(`{"type":"debug.fail","payload":{"permanent":true}}`)
	b.finished(archived)
	conflict(archived, "cancel", job.Archived)
	scheduled := b.submit(with(`"delay":"1h"`))
	conflict(scheduled, "retry", job.Scheduled)
	running := b.submit(`{"type":"debug.sleep","payload":{"duration":"20s"}}`)
	b.becomes(running, job.Active)
	act(running, "retry").want(b, 409)
	for _, id := range []string{scheduled, running} {
		act(id, "cancel").want(b, 200)
		act(id, "cancel").want(b, 200)
		if v := b.finished(id); v.State != job.Canceled {
			t.Errorf("it is %s", v.State)
		}
		before := b.census()
		act(id, "cancel").want(b, 200)
		if after := b.census(); after != before {
			t.Error("a cancel of what is canceled changed something")
		}
	}
}
