package builtin

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/webhook"
)

// oddAnswers are answers whose header net/http refuses to read, though each begins with a status
// line.
var oddAnswers = map[string]string{
	"a header line without a colon":  "HTTP/1.1 %d Fine\r\nContent-Type: text/plain\r\nthis is no header\r\n\r\nok",
	"two Content-Length":             "HTTP/1.1 %d Fine\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"a Content-Length that is none":  "HTTP/1.1 %d Fine\r\nContent-Length: two\r\n\r\nok",
	"a transfer encoding of its own": "HTTP/1.1 %d Fine\r\nTransfer-Encoding: gzip\r\n\r\nok",
	"an empty header name":           "HTTP/1.1 %d Fine\r\n: b\r\n\r\nok",
	"a megabyte of header":           "HTTP/1.1 %d Fine\r\nX-A: " + strings.Repeat("x", 1<<20) + "\r\n\r\nok",
	"interim answers before": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: " +
		"</a>\r\n\r\nHTTP/1.1 %d Fine\r\nno colon\r\n\r\nok",
	"line feeds alone":                 "HTTP/1.1 %d Fine\nno colon\n\nok",
	"no reason in the status line":     "HTTP/1.1 %d\r\nno colon\r\n\r\n",
	"a status line of an old protocol": "HTTP/1.0 %d Fine\r\nno colon\r\n\r\nok",
}

func TestAnOddAnswerIsJudgedByItsStatus(t *testing.T) {
	t.Parallel()
	for name, text := range oddAnswers {
		for status, want := range map[int]string{200: "done", 202: "done", 404: "permanent", 503: "retry"} {
			var calls atomic.Int32
			at := raw(t, func(c net.Conn) {
				calls.Add(1)
				_, _ = fmt.Fprintf(c, text, status)
			})
			res, err := request(t, loopback, `{"url":"`+at+`"}`)
			got := "retry"
			if err == nil {
				got = "done"
			} else if tasks.IsPermanent(err) {
				got = "permanent"
			}
			if got != want || calls.Load() != 1 {
				t.Errorf("%s with %d: %s after %d calls: %v", name, status, got, calls.Load(), err)
			}
			if err == nil && (res.Status != status || res.Warning == "" || strings.Contains(res.Warning, "127.0.0.1")) {
				t.Errorf("%s with %d: the result is %+v", name, status, res)
			}
		}
	}
}

func TestALargeHeaderIsRead(t *testing.T) {
	t.Parallel()
	at, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 70 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("c%d=%s", i, strings.Repeat("x", 1000)))
		}
		_, _ = io.WriteString(w, "eaten")
	})
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || res.Body != "eaten" || res.Warning != "" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestAnOddAnswerOverTLSIsJudgedByItsStatus(t *testing.T) {
	t.Parallel()
	cert, _ := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 201 Fine\r\nno colon\r\n\r\n")
			conn.Close()
		}
	}()
	c := newHTTPClients(loopbackGuard())
	trust(c, cert)
	req, _ := http.NewRequestWithContext(
		t.Context(),
		http.MethodPost,
		"https://"+l.Addr().String(),
		strings.NewReader("{}"),
	)
	if _, status, err := c.do(req); err == nil || status != 201 {
		t.Errorf("got %d, %v", status, err)
	}
}

func TestHTTP2IsStillSpokenWhereItIsOffered(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
	)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newHTTPClients(loopbackGuard())
	trust(c, s.TLS.Certificates[0])
	for _, client := range []*http.Client{c.pooled, c.fresh} {
		resp, err := client.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/2.0" {
			t.Errorf("spoke %s", body)
		}
		resp.Body.Close()
	}
}

// lazyEndpoint answers the first request on each connection and closes it, unannounced, when the
// second comes.
func lazyEndpoint(t *testing.T) (url string, got *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = new(atomic.Int32)
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(req.Body)
				got.Add(1)
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				_, _ = r.ReadByte() // the next request has begun
			}()
		}
	}()
	return "http://" + l.Addr().String(), got
}

func TestAnIdleConnectionThatTheEndpointClosedCostsNoAttempt(t *testing.T) {
	t.Parallel()
	at, got := lazyEndpoint(t)
	d := httpRequest(loopback)
	for i := range 20 {
		res, err := run(
			t,
			d,
			&job.Job{Attempt: 1, Payload: json.RawMessage(fmt.Sprintf(`{"url":%q,"body":{"n":%d}}`, at, i))},
		)
		if err != nil || !strings.Contains(string(res), fmt.Sprintf(`{\"n\":%d}`, i)) {
			t.Fatalf("request %d: %s, %v", i, res, err)
		}
	}
	if got.Load() != 20 {
		t.Errorf("%d requests were answered, want 20", got.Load())
	}
}

func TestAFreshConnectionThatBreaksIsNotTriedAgainWithinTheAttempt(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	at := raw(t, func(net.Conn) { calls.Add(1) })
	if _, err := request(t, loopback, `{"url":"`+at+`"}`); err == nil || tasks.IsPermanent(err) || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

func TestQueriesAreEscapedAsPathsAre(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.RequestURI }))
	t.Cleanup(s.Close)
	for raw, want := range map[string]string{
		`/hook?q=a b`:            `/hook?q=a%20b`,
		`/a b?q="é"<>`:           `/a%20b?q=%22%C3%A9%22%3C%3E`,
		`/hook?q=a%20b+c&d[]=e'`: `/hook?q=a%20b+c&d[]=e'`,
		`/hook?p=10%&q={x|y}^\\`: `/hook?p=10%25&q=%7Bx%7Cy%7D%5E%5C`,
		`/hook?q=a#frag ment`:    `/hook?q=a`,
		`?q=a b`:                 `/?q=a%20b`,
	} {
		payload := `{"url":"` + s.URL + strings.ReplaceAll(raw, `"`, `\"`) + `"}`
		if _, err := request(t, loopback, payload); err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if uri := <-got; uri != want {
			t.Errorf("%s was asked for as %s, want %s", raw, uri, want)
		}
	}
}

func TestADateInRetryAfterIsReadByTheEndpointsOwnClock(t *testing.T) {
	t.Parallel()
	theirs := time.Now().Add(-time.Hour).UTC()
	at := raw(t, func(c net.Conn) {
		fmt.Fprintf(
			c,
			"HTTP/1.1 503 Later\r\nDate: %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
			theirs.Format(http.TimeFormat),
			theirs.Add(2*time.Minute).Format(http.TimeFormat),
		)
	})
	_, err := request(t, loopback, `{"url":"`+at+`"}`)
	if d, ok := tasks.RetryDelay(err); !ok || d != 2*time.Minute {
		t.Errorf("asked to wait 2m by a clock an hour behind: %v, %v", d, ok)
	}
}

// The reader of docs/task-types.md verifies as this test does.
func TestAReceiverTellsOwnersApartWithAnyStandardWebhooksLibrary(t *testing.T) {
	t.Parallel()
	const older = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	at, got := endpoint(t, status(200))
	cfg := loopback
	cfg.Secret = testSecret + "," + older
	ann, bob := job.NewID(), job.NewID()
	send := func(owner job.ID, secret string) received {
		payload := json.RawMessage(`{"url":"` + at + `","body":{"order":1042}` + secret + `}`)
		if _, err := run(t, httpRequest(cfg), &job.Job{OwnerID: owner, Attempt: 1, Payload: payload}); err != nil {
			t.Fatal(err)
		}
		return <-got
	}
	verify := func(secret string, r received) error {
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		return wh.Verify([]byte(r.body), r.header)
	}
	secrets, err := WebhookSecrets(cfg, tasks.ID(ann))
	if err != nil || len(secrets) != 2 {
		t.Fatalf("ann's secrets are %q, %v", secrets, err)
	}
	fromAnn, fromBob, forged := send(ann, ""), send(bob, ""), send(bob, `,"secret":"`+older+`"`)
	for i, secret := range secrets {
		if err := verify(secret, fromAnn); err != nil {
			t.Errorf("ann's request by her secret %d: %v", i, err)
		}
		for name, r := range map[string]received{"bob's request": fromBob,
			"bob's request with a secret of his own": forged} {
			if verify(secret, r) == nil {
				t.Errorf("%s passes as ann's by her secret %d", name, i)
			}
		}
	}
	for _, secret := range []string{testSecret, older} { // the deployment's own
		if err := verify(secret, fromBob); err != nil {
			t.Errorf("the deployment's request: %v", err)
		}
	}
	if fromAnn.header.Get("Waybill-Owner") != ann.String() || fromBob.header.Get("Waybill-Owner") != bob.String() {
		t.Errorf("owners: %q, %q", fromAnn.header.Get("Waybill-Owner"), fromBob.header.Get("Waybill-Owner"))
	}
	// A receiver that serves several owners and holds the deployment's secret derives the secret of
	// the owner that is named.
	key, _ := webhook.ParseSecret(testSecret)
	if err := verify(key.Owner(fromBob.header.Get("Waybill-Owner")).Secret(), fromBob); err != nil {
		t.Errorf("bob, by the deployment's secret: %v", err)
	}
}

func TestWaybillsOwnHeadersCannotBeSet(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Waybill-Owner", "waybill-owner", "WAYBILL-HOPS", "Waybill-Attempt",
		"Waybill-Anything", "webhook-signature"} {
		if fields := checkHeaders(map[string]string{name: "x"}); len(fields) != 1 {
			t.Errorf("%s was taken", name)
		}
	}
}
