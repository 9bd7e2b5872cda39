package builtin

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
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/webhook"
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
	j := &job.Job{
		ID:          job.NewID(),
		OwnerID:     job.NewID(),
		Attempt:     4,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Payload: json.RawMessage(
			`{"url":"` + at + `","headers":{"X-Custom":"a b","authorization":"Bearer t"},"body":` + body + `}`,
		),
	}
	res, err := run(t, httpRequest(cfg), j)
	if err != nil || !strings.HasPrefix(string(res), `{"status":204,`) {
		t.Fatalf("got %s, %v", res, err)
	}
	r := <-got
	if r.method != "POST" || r.body != body {
		t.Errorf("%s %s", r.method, r.body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "User-Agent": "Waybill/1.2.3",
		"Waybill-Attempt": "4",
		"Waybill-Owner":   j.OwnerID.String(), "Waybill-Hops": "1",
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
	keys := []webhook.Key{key, key.Owner(j.OwnerID.String())}
	if want := webhook.Sign(keys, j.ID.String(), time.Unix(seconds, 0), []byte(body)); r.header.Get(
		"Webhook-Signature",
	) != want {
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
	if want := key.Sign(r.header.Get("Webhook-Id"), time.Unix(seconds, 0), nil); r.header.Get(
		"Webhook-Signature",
	) != want {
		t.Errorf("signature %s, want %s", r.header.Get("Webhook-Signature"), want)
	}
	if r.body != "" || r.header.Get("Content-Type") != "" {
		t.Errorf("a GET with %q as %q", r.body, r.header.Get("Content-Type"))
	}
	if _, err := request(t, loopback, `{"url":"`+at+
		`","body":null,"headers":{"content-type":"application/cloudevents+json"}}`); err != nil {
		t.Fatal(err)
	}
	if r = <-got; r.header.Get("Webhook-Signature") != "" || r.header.Get("Webhook-Id") == "" || r.body != "null" ||
		r.header.Get("Content-Type") != "application/cloudevents+json" {
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
		{400, "", "permanent", 0}, {401, "", "permanent", 0}, {404, "5", "permanent", 0}, {410, "", "permanent", 0},
		{422, "", "permanent", 0},
		{408, "", "retry", 0}, {425, "", "retry", 0}, {429, "5", "retry", 5 * time.Second}, {429, "-1", "retry", 0},
		{429, "nonsense", "retry", 0},
		{429, soon, "retry", time.Hour}, {429, "999999999", "retry", 24 * time.Hour}, {500, "", "retry", 0},
		{503, "120", "retry", 2 * time.Minute}, {599, "", "retry", 0},
	} {
		at, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(c.status)
		})
		_, err := request(
			t,
			loopback,
			`{"url":"`+at+`/?token=TOPSECRET","headers":{"Authorization":"TOPSECRET"},"secret":"`+testSecret+`"}`,
		)
		got := "retry"
		if err == nil {
			got = "done"
		} else if tasks.IsPermanent(err) {
			got = "permanent"
		}
		delay, _ := tasks.RetryDelay(err)
		if got != c.want || (delay-c.delay).Abs() > 2*time.Second || (c.delay == 0) != (delay == 0) {
			t.Errorf("%d with %q: %s after %v: %v", c.status, c.retryAfter, got, delay, err)
		}
		if err != nil &&
			(!strings.Contains(err.Error(), strconv.Itoa(c.status)) || strings.Contains(err.Error(), "TOPSECRET") ||
				strings.Contains(err.Error(), testSecret)) {
			t.Errorf("%d: the error says %q", c.status, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	inner, reached := endpoint(t, status(200))
	at, _ := endpoint(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner, http.StatusFound) })
	if _, err := request(t, loopback, `{"url":"`+at+`"}`); !tasks.IsPermanent(err) {
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
	if len(res.Body) > maxAnswerKept || len(res.Body) < maxAnswerKept-10 || !utf8.ValidString(res.Body) ||
		strings.ContainsRune(res.Body, 0) {
		t.Errorf("a body of %d bytes: %.20q", len(res.Body), res.Body)
	}
	if len(res.Headers) != maxAnswerHeaders {
		t.Errorf("%d headers kept", len(res.Headers))
	}
	for name, value := range res.Headers {
		if name != strings.ToLower(name) || len(value) > maxAnswerValue || !utf8.ValidString(value) ||
			name == "set-cookie" {
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
		"nothing": "", "cut in the header": "HTTP/1.1 200 OK\r\nContent-", "cut in the status line": "HTTP/1.1 200",
		"no HTTP": "220 mail.example.com ESMTP\r\n", "no number": "HTTP/1.1 2OO OK\r\n\r\n",
		"interim only":           "HTTP/1.1 100 Continue\r\n\r\n",
		"503 with an odd header": "HTTP/1.1 503 No\r\nno colon\r\n\r\n",
	} {
		at := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, text) })
		if _, err := request(t, loopback, `{"url":"`+at+`"}`); err == nil || tasks.IsPermanent(err) ||
			strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	l.Close()
	if _, err := request(t, loopback, `{"url":"http://`+l.Addr().String()+`"}`); err == nil || tasks.IsPermanent(err) ||
		!strings.Contains(err.Error(), "refused") {
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
	start := time.Now()
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || len(res.Body) > maxAnswerKept ||
		time.Since(start) >= answerTime {
		t.Errorf(
			"never ending: %d bytes, %v after %v: it was read for as long as it came",
			len(res.Body),
			err,
			time.Since(start),
		)
	}
	at = raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow")
		_, _ = c.Read(make([]byte, 1)) // until the other side hangs up
	})
	start = time.Now()
	if res, err := request(t, loopback, `{"url":"`+at+`"}`); err != nil || res.Body != "slow" ||
		time.Since(start) > answerTime+5*time.Second {
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
	if !errors.Is(err, stop) || tasks.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}
