package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// ask is a request as it goes over the wire: what it says is neither checked nor escaped on the
// way, so that anything can be asked.
type ask struct {
	method string   // GET
	path   string   // all that stands between the method and the version
	as     string   // an access token or API key; empty: no Authorization header
	head   []string // further header lines
	media  string   // Content-Type of a body; application/json where empty, none where "-"
	body   string
	chunks bool // the body's length is not announced
}

func (a ask) wire(host string) string {
	var w strings.Builder
	method := a.method
	if method == "" {
		method = "GET"
	}
	fmt.Fprintf(&w, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, a.path, host)
	if a.as != "" {
		fmt.Fprintf(&w, "Authorization: Bearer %s\r\n", a.as)
	}
	for _, line := range a.head {
		w.WriteString(line + "\r\n")
	}
	if a.media == "" {
		a.media = "application/json"
	}
	if a.media != "-" && method != "GET" {
		fmt.Fprintf(&w, "Content-Type: %s\r\n", a.media)
	}
	switch {
	case a.chunks:
		fmt.Fprintf(&w, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(a.body), a.body)
	case method == "GET" && a.body == "":
		w.WriteString("\r\n")
	default:
		fmt.Fprintf(&w, "Content-Length: %d\r\n\r\n%s", len(a.body), a.body)
	}
	return w.String()
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

func (r reply) want(b *bench, status int) reply {
	b.Helper()
	if r.status != status {
		b.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// decode reads the answer's JSON.
func (r reply) decode(b *bench, into any) {
	b.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		b.Fatalf("%v in %s", err, r.body)
	}
}

// ask asks and holds the answer to what is true of every answer.
func (b *bench) ask(a ask) reply {
	b.Helper()
	r, err := send(b.addr, a.method, a.wire(b.addr))
	if err != nil {
		b.Fatalf("%s %.100s: %v", a.method, a.path, err)
	}
	b.checkReply(r)
	return r
}

// send writes text to addr as it stands and reads one answer.
func send(addr, method, text string) (r reply, err error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	began := time.Now()
	go func() { _, _ = io.WriteString(conn, text) }() // what is refused early may not be taken to its end
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return r, fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), time.Since(began)}, err
}

// ours are pieces of text that no answer to a stranger may have in it: of stack traces, of SQL, of
// what we stand on.
var ours = regexp.MustCompile(
	`goroutine \d|\.go:\d|panic|runtime error|SQLSTATE|(?i:select |insert into|update "|pgx|bun:|pq:|redis:|dial tcp|connection refused)|127\.0\.0\.1|/tmp/|/root/|0x[0-9a-f]{8}`,
)

// problem is the body of every error.
type problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail"`
	Code      job.Code         `json:"code"`
	RequestID string           `json:"request_id"`
	State     job.State        `json:"state"`
	Errors    []job.FieldError `json:"errors"`
}

// checkReply holds what is true of every answer: never a 500, each error a whole problem that tells
// nothing of our insides.
func (b *bench) checkReply(r reply) {
	b.Helper()
	if r.status >= 500 && r.status != http.StatusServiceUnavailable && r.status != http.StatusNotImplemented &&
		r.status != http.StatusHTTPVersionNotSupported {
		b.Errorf("%d: %s", r.status, r.body)
	}
	if r.status < 400 {
		return
	}
	if leak := ours.FindString(r.body); leak != "" {
		b.Errorf("the answer shows %q: %s", leak, r.body)
	}
	if r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests {
		if s := r.header.Get("Retry-After"); !regexp.MustCompile(`^[1-9]\d*$`).MatchString(s) {
			b.Errorf("%d with Retry-After %q", r.status, s)
		}
	}
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") {
		if !saidByServer(r) && !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			b.Errorf("%d is %q: %s", r.status, r.header.Get("Content-Type"), r.body)
		}
		return
	}
	if r.body != "" { // HEAD has none
		checkProblem(b, r)
	}
}

// saidByServer is true of what net/http answers by itself to what is no HTTP at all, before the API
// sees it.
func saidByServer(r reply) bool {
	return r.header.Get("X-Request-Id") == "" && strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") &&
		len(r.body) < 100
}

func checkProblem(t testing.TB, r reply) {
	t.Helper()
	var p problem
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Errorf("%v in %s", err, r.body)
		return
	}
	if p.Status != r.status || p.Title == "" || p.Code == "" || p.RequestID == "" ||
		p.RequestID != r.header.Get("X-Request-Id") ||
		!strings.HasPrefix(p.Type,
			"/docs#problem-") {
		t.Errorf("not a whole problem: %s", r.body)
	}
	for _, e := range p.Errors {
		if e.Detail == "" || e.Pointer != "" && e.Pointer[0] != '/' {
			t.Errorf("a mistake without its place or detail: %s", r.body)
		}
	}
}

// input is one request, and the answer that it should get.
type input struct {
	name string
	ask
	want int
	says string // stands in the answer's body
}

// try sends one input after the other. What is refused may have changed nothing.
func (b *bench) try(inputs []input) {
	b.Helper()
	for _, in := range inputs {
		b.Run(in.name, func(t *testing.T) {
			b := b.in(t)
			before := b.census()
			r := b.ask(in.ask)
			if r.status != in.want || !strings.Contains(r.body, in.says) {
				t.Errorf("%d, want %d and %q: %.500s", r.status, in.want, in.says, r.body)
			}
			if after := b.census(); r.status >= 400 && after != before {
				t.Errorf("refused with %d, but something changed:\n%s\n%s", r.status, before, after)
			}
		})
	}
}
