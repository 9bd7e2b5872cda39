package api

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

const echo = `{"type":"debug.echo","payload":{}}`

// with is a job to submit with a few more members.
func with(members string) string { return `{"type":"debug.echo","payload":{},` + members + `}` }

func TestWrongSubmissionsAreRefusedWithThePlaceAndNothingIsStored(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	tests := []struct {
		body     string
		status   int
		pointers string
	}{
		{`{}`, 422, "/payload /type"},
		{`{"type":"debug.echo"}`, 422, "/payload"},
		{`{"type":null,"payload":{}}`, 422, "/type"},
		{`{"type":7,"payload":{}}`, 422, "/type"},
		{`{"type":"debug","payload":{}}`, 422, "/type"},
		{`{"type":"Debug.Echo","payload":{}}`, 422, "/type"},
		{`{"type":"debug echo","payload":{}}`, 422, "/type"},
		{`{"type":"a/b:c{d}","payload":{}}`, 422, "/type"},
		{`{"type":"` + strings.Repeat("x", 300) + `","payload":{}}`, 422, "/type"},
		{`{"type":"debug.echo","payload":null}`, 422, "/payload"},
		{`{"type":"debug.echo","payload":[]}`, 422, "/payload"},
		{`{"type":"http.request","payload":{"urll":"x"}}`, 422, "/payload/url /payload/urll"},
		{`{"type":"http.request","payload":{"url":"x","count":"many"}}`, 422, "/payload/count"},
		{`{"type":"debug.echo","payload":{"a":"\u0000"}}`, 422, "/payload/a"},
		{`{"type":"debug.echo","payload":{"a":"\ud800"}}`, 422, "/payload/a"},
		{`{"type":"debug.echo","payload":{"a":1e200000}}`, 422, "/payload/a"},
		{`{"type":"debug.echo","payload":{"a":1,"a":2}}`, 422, "/payload/a"},
		{`{"type":"debug.echo","payload":{"a":"` + strings.Repeat("x", job.MaxPayload) + `"}}`, 422, "/payload"},
		{with(`"state":"completed"`), 422, "/state"},
		{with(`"id":"x","owner_id":"y"`), 422, "/id /owner_id"},
		{with(`"TYPE":"debug.echo"`), 422, "/TYPE"},
		{with(`"type":"debug.echo"`), 422, "/type"},
		{with(`"queue":"nope"`), 422, "/queue"},
		{with(`"queue":""`), 422, "/queue"},
		{with(`"queue":"\"}x{\""`), 422, "/queue"},
		{with(`"queue":"default\n"`), 422, "/queue"},
		{with(`"queue":"` + strings.Repeat("q", 1024) + `"`), 422, "/queue"},
		{with(`"max_retries":-1`), 422, "/max_retries"},
		{with(`"max_retries":1.5`), 422, "/max_retries"},
		{with(`"max_retries":1e9`), 422, "/max_retries"},
		{with(`"max_retries":1001`), 422, "/max_retries"},
		{with(`"max_retries":"3"`), 422, "/max_retries"},
		{with(`"timeout":0`), 422, "/timeout"},
		{with(`"timeout":"0s"`), 422, "/timeout"},
		{with(`"timeout":-1`), 422, "/timeout"},
		{with(`"timeout":"-1s"`), 422, "/timeout"},
		{with(`"timeout":"500 years"`), 422, "/timeout"},
		{with(`"timeout":"4380000h"`), 422, "/timeout"},
		{with(`"delay":"0s"`), 422, "/delay"},
		{with(`"delay":"-90s"`), 422, "/delay"},
		{with(`"delay":"90"`), 422, "/delay"},
		{with(`"delay":"90s","run_at":"2030-01-01T00:00:00Z"`), 422, "/delay"},
		{with(`"run_at":"0001-01-01T00:00:00Z"`), 422, "/run_at"},
		{with(`"run_at":"9999-12-31T23:59:59Z"`), 422, "/run_at"},
		{with(`"run_at":"2027-02-30T00:00:00Z"`), 422, "/run_at"},
		{with(`"run_at":"2027-02-03T00:00:00"`), 422, "/run_at"},
		{with(`"run_at":"2027-02-03 00:00:00Z"`), 422, "/run_at"},
		{with(`"run_at":"2027-02-03T1:00:00Z"`), 422, "/run_at"},
		{with(`"run_at":"tomorrow"`), 422, "/run_at"},
		{with(`"run_at":1893456000`), 422, "/run_at"},
		{with(`"deadline":"2020-01-01T00:00:00Z"`), 422, "/deadline"},
		{with(`"delay":"48h","deadline":"` + soon + `"`), 422, "/deadline"},
		{with(`"backoff":{"kind":"linear"}`), 422, "/backoff/kind"},
		{with(`"backoff":{"base":"0s","max":"1000h","more":1}`), 422, "/backoff/base /backoff/max /backoff/more"},
		{with(`"backoff":{"base":"1h","max":"1m"}`), 422, "/backoff/max"},
		{with(`"backoff":"10s"`), 422, "/backoff"},
		{with(`"labels":{"A":"x","":"y","ok":7,"n":null}`), 422, "/labels/ /labels/A /labels/n /labels/ok"},
		{with(`"labels":{"k":"` + strings.Repeat("v", 256) + `"}`), 422, "/labels/k"},
		{with(`"labels":[]`), 422, "/labels"},
		{with(`"queue":"nope","max_retries":-1,"timeout":"x","x":1`), 422, "/max_retries /queue /timeout /x"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%.80s", test.body), func(t *testing.T) {
			h := *h
			h.t = t
			body := strings.Replace(test.body, soon, h.clock.now().Add(3600e9).UTC().Format("2006-01-02T15:04:05Z"), 1)
			a := h.call("POST", "/v1/jobs", alice, body).want(test.status)
			got := strings.Join(slices.Compact(a.pointers()), " ")
			if got != test.pointers {
				t.Errorf("names %q, want %q: %s", got, test.pointers, a.body)
			}
		})
	}
	if n := h.ledger.len(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

const soon = "in an hour"

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, body := range []string{"", "null", "[]", "123", "{}{}", echo + "x", "\xef\xbb\xbf" + echo, `{"type":`,
		`{} // x`,
		`{"type":"debug.echo","payload":{"a":NaN}}`, "{\"type\":\"debug.echo\",\"payload\":{\"a\":\"\xff\"}}"} {
		if a := h.call("POST", "/v1/jobs", alice, body); a.status != 400 || a.problem().Code != job.CodeMalformed {
			t.Errorf("%q: %d", body, a.status)
		}
	}
	deep := `{"type":"debug.echo","payload":{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}}`
	h.call("POST", "/v1/jobs", alice, deep).want(422)
	if n := h.ledger.len(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestOnlyPlainJSONIsTaken(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for contentType, want := range map[string]int{
		"application/json": 202, "application/json; charset=utf-8": 202, "application/json;charset=UTF-8": 202,
		"Application/JSON":                 202,
		"application/json; charset=latin1": 415, "application/json; v=2": 415, "text/plain": 415, "text/json": 415,
		"application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "application/x-ndjson": 415,
		"": 415,
	} {
		req := h.request("POST", "/v1/jobs", alice, strings.NewReader(echo), "Content-Type", "")
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if got := h.do(req).status; got != want {
			t.Errorf("%q: %d, want %d", contentType, got, want)
		}
	}
	h.call("POST", "/v1/jobs", alice, echo, "Content-Encoding", "gzip").want(415)
	h.call("POST", "/v1/jobs", alice, echo, "Content-Encoding", "identity").want(202)
	h.call("POST", "/v1/jobs", alice, echo, "Content-Type", "text/plain").want(415)
}

func TestABodyMayHaveExactlyTheLimit(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.MaxBody = 20_000 })
	padded := func(n int) string { return echo + strings.Repeat(" ", n-len(echo)) }
	for _, chunked := range []bool{false, true} {
		for size, want := range map[int]int{19_999: 202, 20_000: 202, 20_001: 413, 100_000: 413} {
			req := h.request("POST", "/v1/jobs", alice, strings.NewReader(padded(size)))
			if chunked {
				req.ContentLength = -1
			}
			if got := h.do(req).status; got != want {
				t.Errorf("%d bytes, chunked %v: %d, want %d", size, chunked, got, want)
			}
		}
	}
}

func TestAPayloadComesBackByteForByte(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, payload := range []string{
		`{"a":1.10,  "b":2}`, `{"n":12345678901234567890}`, "{\n\t\"z\" : 1 ,\r\n \"a\":[ ]\n}", `{"h":"<b>&amp;</b>"}`,
		`{"e":"\u00e9\/\u2028","é":"😀"}`, `{"n":[1E+2,-0,0.000,1e-7]}`,
	} {
		made := h.call("POST", "/v1/jobs", alice, `{"payload":  `+payload+`  , "type":"debug.echo"}`).want(202)
		read := h.call("GET", made.header.Get("Location"), alice, "").want(200)
		for _, a := range []answer{made, read} {
			if !strings.Contains(a.body, `"payload":`+payload+`,"result"`) {
				t.Errorf("%s became %s", payload, a.body)
			}
		}
	}
	for _, p := range h.dispatcher.sent {
		if h.ledger.jobs[p.JobID] == nil || string(p.Payload) != string(h.ledger.jobs[p.JobID].Payload) {
			t.Errorf("the message has %s", p.Payload)
		}
	}
}

func TestWrongListParametersAreRefused(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, query := range []string{
		"limit=-1", "limit=0", "limit=201", "limit=1e9", "limit=9223372036854775808", "limit=", "limit=5&limit=6",
		"limit=abc",
		"cursor=garbage", "cursor=AAAA", "cursor=%00", "cursor=" + strings.Repeat("A", 1000), "state=queued",
		"state=queued'%20or%20'1'='1",
		"state=PENDING", "state=pending&state=retry", "type=a/b", "type=%00", "queue=a%20b", "queue=%7Bx%7D",
		"label.=x", "label.A=x", "label=x",
		"label.k=", "label.k=a&label.k=b", "created_after=yesterday", "created_after=2026-01-01",
		"created_after=0001-01-01T00:00:00Z",
		"owner=me", "unknown=1", "State=pending", "a=%zz", "a;b=1", "state=%ff", "%00=1",
	} {
		if a := h.call("GET", "/v1/jobs?"+query, viewer, ""); a.status != 400 {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	h.call("GET", "/v1/jobs?owner=all", alice, "").want(403)
	h.call("GET", "/v1/jobs?token=wb_write", "", "").want(401)
	h.call("GET", "/v1/task-types?x=1", alice, "").want(400)
}

func TestIDsThatAreNoneAreNotFound(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	made := h.call("POST", "/v1/jobs", alice, echo).want(202).json()["id"].(string)
	for _, id := range []string{"x", "1", strings.ToUpper(made), "00000000-0000-0000-0000-000000000000", made + "%00",
		"%00", made[:35],
		strings.ReplaceAll(made, "-", ""), "%7B" + made + "%7D", strings.Repeat("a", 5000), "..%2f..",
		job.NewID().String(), "batch"} {
		for _, r := range [][2]string{{"GET", ""}, {"POST", "/cancel"}, {"POST", "/retry"}} {
			if r[1] == "" && id == "batch" {
				continue
			}
			if a := h.call(r[0], "/v1/jobs/"+id+r[1], alice, ""); a.status != 404 {
				t.Errorf("%s %.50s%s: %d", r[0], id, r[1], a.status)
			}
		}
	}
}

func TestAuthorizationThatProvesNothingIsRefused(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, values := range [][]string{{}, {""}, {"Bearer alice", "Bearer alice"}, {"Basic YWxpY2U6eA=="}, {"bearer"},
		{"Bearer  x"}} {
		req := h.request("GET", "/v1/jobs", "", http.NoBody)
		req.Header["Authorization"] = values
		a := h.do(req).want(401)
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%q: %v", values, a.header)
		}
	}
}

func TestIdempotencyKeysAreVisibleASCII(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, key := range []string{"a b", "é", "\x01", strings.Repeat("k", 256)} {
		h.call("POST", "/v1/jobs", alice, echo, "Idempotency-Key", key).want(400)
	}
	req := h.request("POST", "/v1/jobs", alice, strings.NewReader(echo))
	req.Header["Idempotency-Key"] = []string{""}
	h.do(req).want(400)
	h.call("POST", "/v1/jobs", alice, echo, "Idempotency-Key", "a", "Idempotency-Key", "b").want(400)
	h.call("POST", "/v1/jobs", alice, echo, "Idempotency-Key", strings.Repeat("~", 255)).want(202)
	h.call("POST", "/v1/jobs/batch", alice, "["+echo+"]", "Idempotency-Key", strings.Repeat("k", 251)).want(400)
	h.call("POST", "/v1/jobs/batch", alice, "["+echo+"]", "Idempotency-Key", strings.Repeat("k", 250)).want(202)
}

func TestWhatTheScannerRefusedIsNotCalledMissingToo(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, body := range []string{`{"type":7,"payload":{}}`, with(`"queue":7`), with(`"type":"debug.echo"`),
		`{"type":"debug.echo","payload":{"a":"` + strings.Repeat("x", job.MaxPayload) + `"}}`} {
		if list := h.call("POST", "/v1/jobs", alice, body).want(422).problem().Errors; len(list) != 1 {
			t.Errorf("%.80s: %+v", body, list)
		}
	}
}

// unread fails the test that reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func TestABodyThatIsAnnouncedAsTooLargeIsNotRead(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	req := h.request("POST", "/v1/jobs", alice, unread{t})
	req.ContentLength = 1<<20 + 1
	if a := h.do(req).want(413); a.header.Get("Connection") != "close" {
		t.Errorf("headers: %v", a.header)
	}
}
