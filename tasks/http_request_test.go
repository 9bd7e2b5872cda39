package tasks

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks/internal/guard"
	"github.com/waybill/waybill/tasks/internal/webhook"
)

// loopback lets the tests' own servers be reached.
var loopback = HTTPConfig{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Version: "1.2.3"}

type received struct {
	method string
	header http.Header
	body   string
}

// endpoint is a server that writes down what it was sent and answers with h.
func endpoint(t *testing.T, h http.HandlerFunc) (string, <-chan received) {
	t.Helper()
	got := make(chan received, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Method, r.Header.Clone(), string(body)}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// request runs one http.request against cfg and decodes its result.
func request(t *testing.T, cfg HTTPConfig, payload string) (httpResult, error) {
	t.Helper()
	var res httpResult
	raw, err := run(t, httpRequest(cfg), &job.Job{Attempt: 1, Payload: json.RawMessage(payload)})
	if err == nil {
		err = json.Unmarshal(raw, &res)
	}
	return res, err
}

func TestRequestSendsTheBodyByteForByteAndSigned(t *testing.T) {
	t.Parallel()
	at, got := endpoint(t, status(204))
	const body = `{"z": 1.10,  "a":"<é>", "n":12345678901234567890}`
	cfg := loopback
	cfg.Secret = testSecret
	j := &job.Job{ID: job.NewID(), Attempt: 4, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Payload: json.RawMessage(`{"url":"` + at + `","headers":{"X-Custom":"a b","authorization":"Bearer t"},"body":` + body + `}`)}
	res, err := run(t, httpRequest(cfg), j)
	if err != nil || !strings.HasPrefix(string(res), `{"status":204,`) {
		t.Fatalf("got %s, %v", res, err)
	}
	r := <-got
	if r.method != "POST" || r.body != body {
		t.Errorf("%s %s", r.method, r.body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "User-Agent": "Waybill/1.2.3", "Waybill-Attempt": "4",
		"Webhook-Id": j.ID.String(), "Traceparent": j.Traceparent, "X-Custom": "a b", "Authorization": "Bearer t"} {
		if r.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, r.header.Get(name), want)
		}
	}
	seconds, err := strconv.ParseInt(r.header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		t.Errorf("timestamp %q", r.header.Get("Webhook-Timestamp"))
	}
	key, _ := webhook.ParseSecret(testSecret)
	if want := key.Sign(j.ID.String(), time.Unix(seconds, 0), []byte(body)); r.header.Get("Webhook-Signature") != want {
		t.Errorf("signature %s, want %s", r.header.Get("Webhook-Signature"), want)
	}
}

func TestRequestSignsWithThePayloadsSecretFirstAndWithoutOneNotAtAll(t *testing.T) {
	t.Parallel()
	at, got := endpoint(t, status(200))
	const own = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	cfg := loopback
	cfg.Secret = testSecret
	if _, err := request(t, cfg, `{"url":"`+at+`","method":"GET","secret":"`+own+`"}`); err != nil {
		t.Fatal(err)
	}
	r := <-got
	key, _ := webhook.ParseSecret(own)
	seconds, _ := strconv.ParseInt(r.header.Get("Webhook-Timestamp"), 10, 64)
	if want := key.Sign(r.header.Get("Webhook-Id"), time.Unix(seconds, 0), nil); r.header.Get("Webhook-Signature") != want {
		t.Errorf("signature %s, want %s", r.header.Get("Webhook-Signature"), want)
	}
	if r.body != "" || r.header.Get("Content-Type") != "" {
		t.Errorf("a GET with %q as %q", r.body, r.header.Get("Content-Type"))
	}
	if _, err := request(t, loopback, `{"url":"`+at+`","body":null,"headers":{"content-type":"application/cloudevents+json"}}`); err != nil {
		t.Fatal(err)
	}
	if r = <-got; r.header.Get("Webhook-Signature") != "" || r.header.Get("Webhook-Id") == "" || r.body != "null" || r.header.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("without a secret: %q %v", r.body, r.header)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		status     int
		retryAfter string
		want       string // done, permanent, retry
		delay      time.Duration
	}{
		{200, "", "done", 0}, {201, "", "done", 0}, {204, "", "done", 0}, {299, "", "done", 0},
		{301, "", "permanent", 0}, {302, "", "permanent", 0}, {304, "", "permanent", 0}, {307, "5", "permanent", 0},
		{400, "", "permanent", 0}, {401, "", "permanent", 0}, {404, "5", "permanent", 0}, {410, "", "permanent", 0}, {422, "", "permanent", 0},
		{408, "", "retry", 0}, {425, "", "retry", 0}, {429, "5", "retry", 5 * time.Second}, {429, "-1", "retry", 0}, {429, "nonsense", "retry", 0},
		{429, soon, "retry", time.Hour}, {429, "999999999", "retry", 24 * time.Hour}, {500, "", "retry", 0}, {503, "120", "retry", 2 * time.Minute}, {599, "", "retry", 0},
	} {
		at, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(c.status)
		})
		_, err := request(t, loopback, `{"url":"`+at+`/?token=TOPSECRET","headers":{"Authorization":"TOPSECRET"},"secret":"`+testSecret+`"}`)
		got := "retry"
		if err == nil {
			got = "done"
		} else if IsPermanent(err) {
			got = "permanent"
		}
		delay, _ := RetryDelay(err)
		if got != c.want || (delay-c.delay).Abs() > 2*time.Second || (c.delay == 0) != (delay == 0) {
			t.Errorf("%d with %q: %s after %v: %v", c.status, c.retryAfter, got, delay, err)
		}
		if err != nil && (!strings.Contains(err.Error(), strconv.Itoa(c.status)) || strings.Contains(err.Error(), "TOPSECRET") || strings.Contains(err.Error(), testSecret)) {
			t.Errorf("%d: the error says %q", c.status, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	inner, reached := endpoint(t, status(200))
	at, _ := endpoint(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner, http.StatusFound) })
	if _, err := request(t, loopback, `{"url":"`+at+`"}`); !IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	if len(reached) != 0 {
		t.Error("the redirect was followed")
	}
}

func TestAnswersAreCutAndCleaned(t *testing.T) {
	t.Parallel()
	at, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 40 {
			w.Header().Set(fmt.Sprintf("X-%02d", i), strings.Repeat("v", 1000))
		}
		w.Header().Set("A-Bad", "\xff\xfe")
		w.Header().Set("Set-Cookie", "session=TOPSECRET")
		_, _ = w.Write([]byte("\xff\x00" + strings.Repeat("é", 1<<20)))
	})
	res, err := request(t, loopback, `{"url":"`+at+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Body) > maxAnswerKept || len(res.Body) < maxAnswerKept-10 || !utf8.ValidString(res.Body) || strings.ContainsRune(res.Body, 0) {
		t.Errorf("a body of %d bytes: %.20q", len(res.Body), res.Body)
	}
	if len(res.Headers) != maxAnswerHeaders {
		t.Errorf("%d headers kept", len(res.Headers))
	}
	for name, value := range res.Headers {
		if name != strings.ToLower(name) || len(value) > maxAnswerValue || !utf8.ValidString(value) || name == "set-cookie" {
			t.Errorf("%s: %q", name, value)
		}
	}
}

// raw is a TCP server that speaks as it likes.
func raw(t *testing.T, speak func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				speak(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestBrokenAnswersAreRetried(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "cut in the header": "HTTP/1.1 200 OK\r\nContent-", "no HTTP": "220 mail.example.com ESMTP\r\n",
		"endless header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20),
	} {
		at := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, text) })
		if _, err := request(t, loopback, `{"url":"`+at+`"}`); err == nil || IsPermanent(err) || strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	l.Close()
	if _, err := request(t, loopback, `{"url":"http://`+l.Addr().String()+`"}`); err == nil || IsPermanent(err) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestABodyThatBreaksOffOrNeverEndsTakesNothingFromItsStatus(t *testing.T) {
	t.Parallel()
	at := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") })
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || res.Body != "half" {
		t.Errorf("broken off: %+v, %v", res, err)
	}
	at = raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		for chunk := strings.Repeat("x", 1<<16); ; {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	})
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || len(res.Body) > maxAnswerKept {
		t.Errorf("never ending: %d bytes, %v", len(res.Body), err)
	}
	at = raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow")
		_, _ = c.Read(make([]byte, 1)) // until the other side hangs up
	})
	start := time.Now()
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || res.Body != "slow" || time.Since(start) > answerTime+5*time.Second {
		t.Errorf("stuck: %+v, %v after %v", res, err, time.Since(start))
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	at := raw(t, func(c net.Conn) {
		close(asked)
		_, _ = c.Read(make([]byte, 1))
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	go func() {
		<-asked
		cancel(stop)
	}()
	_, err := runIn(ctx, t, httpRequest(loopback), &job.Job{Payload: json.RawMessage(`{"url":"` + at + `"}`)})
	if !errors.Is(err, stop) || IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}

func TestNothingPrivateIsEverDialed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	// A worker that is stricter than the API was.
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "127.1"} {
		if _, err := request(t, HTTPConfig{}, `{"url":"http://`+host+`:`+port+`/"}`); !IsPermanent(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
	// A name that passed every check and resolves into a private network when it is dialed.
	client := newHTTPClient(guard.New(nil))
	for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		_, err := client.Get("http://" + host + ":" + port + "/")
		if err = sendError(t.Context(), err); !IsPermanent(err) || err.Error() != "destination not allowed" {
			t.Errorf("%s at dial time: %v", host, err)
		}
	}
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Error("something was dialed")
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	t.Parallel()
	if newHTTPClient(guard.New(nil)).Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would dial for us, past the guard")
	}
}

func TestSendErrorsShowNeitherTheURLNorOurNetwork(t *testing.T) {
	t.Parallel()
	for _, inner := range []error{
		&net.DNSError{Err: "no such host", Name: "example.com", Server: "10.9.8.7:53", IsNotFound: true},
		&net.DNSError{Err: "i/o timeout", Name: "example.com", Server: "10.9.8.7:53", IsTimeout: true},
		&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 9, 8, 7)}, Err: errors.New("no route to host")},
		io.ErrUnexpectedEOF,
	} {
		err := sendError(t.Context(), &url.Error{Op: "Post", URL: "https://example.com/?TOPSECRET", Err: inner})
		if IsPermanent(err) || strings.Contains(err.Error(), "TOPSECRET") || strings.Contains(err.Error(), "10.9.8.7") {
			t.Errorf("%T: %v", inner, err)
		}
	}
}

func TestRequestsAreCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	c, err := Shipped(Config{}, discard())
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup("http.request")
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("x-", i)] = "v"
	}
	manyJSON, _ := json.Marshal(many)
	for payload, want := range map[string]string{
		`{}`:                          `/payload/url is required`,
		`{"url":"http://127.0.0.1/"}`: `/payload/url destination not allowed`,
		`{"url":"http://example.com:22/","method":"BREW"}`:                                                                                  `/payload/method must be one of GET, HEAD, POST, PUT, PATCH, DELETE; /payload/url must use port 80, 443, or one from 1024`,
		`{"url":"https://example.com","method":"get"}`:                                                                                      `/payload/method must be one of GET, HEAD, POST, PUT, PATCH, DELETE`,
		`{"url":"https://example.com","method":"GET","body":{}}`:                                                                            `/payload/body must be left out with GET`,
		`{"url":"https://example.com","secret":"whsec_TOP-SECRET-TOP-SECRET-TOP-SECRET"}`:                                                   `/payload/secret must be "whsec_" followed by the base64 of 24 to 64 bytes`,
		`{"url":"https://example.com","headers":{"X-A":1}}`:                                                                                 `/payload/headers/X-A must be a string`,
		`{"url":"https://example.com","headers":{"host":"x","Content-Length":"1","TE":"x","Webhook-Id":"x","transfer-encoding":"chunked"}}`: `/payload/headers/Content-Length is set by Waybill; /payload/headers/TE is set by Waybill; /payload/headers/Webhook-Id is set by Waybill; /payload/headers/host is set by Waybill; /payload/headers/transfer-encoding is set by Waybill`,
		`{"url":"https://example.com","headers":{"X-A":"a\r\nHost: b"}}`:                                                                    `/payload/headers/X-A must not hold control characters`,
		`{"url":"https://example.com","headers":{"X-A":"a\u0000"}}`:                                                                         `/payload/headers/X-A must not hold control characters`,
		`{"url":"https://example.com","headers":{"":"a","X A":"a","X:/":"a"}}`:                                                              `/payload/headers/ is not a valid header name; /payload/headers/X A is not a valid header name; /payload/headers/X:~1 is not a valid header name`,
		`{"url":"https://example.com","headers":` + string(manyJSON) + `}`:                                                                  `/payload/headers must have at most 50 headers`,
		`{"url":"https://example.com","headers":{"X-A":"` + strings.Repeat("a", 8192) + `"}}`:                                               `/payload/headers must have at most 8 KiB, names and values together`,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(payload))); got != want {
			t.Errorf("%.120s\n got %s\nwant %s", payload, got, want)
		}
	}
	got := fieldsOf(t, typ.Check(json.RawMessage(`{"url":"https://example.com","headers":{"X-A":"1","x-a":"2"}}`)))
	if !strings.Contains(got, "is given twice") {
		t.Errorf("one header in two cases: %s", got)
	}
	for _, payload := range []string{
		`{"url":"https://example.com","body":[1,{"a":null}],"headers":{"X-A":"é\tb"},"secret":"` + testSecret + `"}`,
		`{"url":"https://example.com","body":"text"}`, `{"url":"https://example.com","body":null}`, `{"url":"https://example.com","body":1e400}`,
	} {
		if err := typ.Check(json.RawMessage(payload)); err != nil {
			t.Errorf("%s: %s", payload, fieldsOf(t, err))
		}
	}
}
