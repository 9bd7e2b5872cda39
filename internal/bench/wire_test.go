package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func TestAnAnswerIsReadToItsEndAndNoFurther(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text   string
		status int
		body   string
		keep   bool
	}{
		"of a told length": {"HTTP/1.1 202 Accepted\r\nContent-Type: a\r\ncontent-length: 5\r\n\r\nhello", 202,
			"hello", true},
		"with nothing in it": {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
		"in chunks": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200, "hello", true},
		"with trailers": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nC: " +
			"d\r\n\r\n", 200, "x", true},
		"after an interim one": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 " +
			"200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x", true},
		"without a body":   {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		"without a reason": {"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", 200, "x", true},
		"the last one": {"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 503, "x",
			false},
		"with bare line ends": {"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 200, "x", true},
	} {
		const next = "HTTP/1.1 299 next"
		for _, reader := range []io.Reader{strings.NewReader(c.text + next),
			iotest.OneByteReader(strings.NewReader(c.text + next))} {
			r := bufio.NewReaderSize(reader, lineBuffer)
			status, body, keep, err := readAnswer(r, []byte("what was here before"))
			if err != nil || status != c.status || string(body) != c.body || keep != c.keep {
				t.Errorf("an answer %s: got %d %q %v, %v", name, status, body, keep, err)
			}
			if rest, _ := io.ReadAll(r); string(rest) != next {
				t.Errorf("an answer %s: %q is left for the next", name, rest)
			}
		}
	}
}

func TestAnAnswerWithoutALengthEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	status, body, keep, err := readAnswer(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\n\r\nall of it")), nil)
	if status != 200 || string(body) != "all of it" || keep || err != nil {
		t.Errorf("got %d %q %v, %v", status, body, keep, err)
	}
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "H", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n",
		"HTTP/2 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "SSH-2.0-x\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "HTTP/1.1 200 OK\r\nX: " +
			strings.Repeat("x", lineBuffer) + "\r\n\r\n",
	} {
		if status, body, _, err := readAnswer(bufio.NewReaderSize(strings.NewReader(text), lineBuffer),
			nil); err == nil {
			t.Errorf("%.60q was read as %d %q", text, status, body)
		}
	}
}

// What both read, our reader and net/http's read alike.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		status, body, _, err := readAnswer(bufio.NewReaderSize(bytes.NewReader(text), lineBuffer), nil)
		if err != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), nil)
		if err != nil || theirs.StatusCode < 200 { // it is stricter, and does not skip interim answers
			return
		}
		defer theirs.Body.Close()
		want, err := io.ReadAll(theirs.Body)
		if err == nil && (status != theirs.StatusCode || !bytes.Equal(body, want)) {
			t.Errorf("got %d %q, net/http reads %d %q", status, body, theirs.StatusCode, want)
		}
	})
}

// serve is a server and the target that leads to it.
func serve(t *testing.T, h http.HandlerFunc) target {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	to, err := newTarget(s.URL, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func dialed(t *testing.T, to target, n int) *load {
	t.Helper()
	l, err := dial(t.Context(), to, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func TestARequestArrivesAsItIsMeant(t *testing.T) {
	t.Parallel()
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(
			w,
			strings.Join(
				[]string{
					r.Method,
					r.RequestURI,
					r.Header.Get("Authorization"),
					r.Header.Get("Content-Type"),
					string(body),
				},
				" ",
			),
		)
	})
	l := dialed(t, to, 1)
	for _, c := range []struct {
		request []byte
		want    string
	}{
		{to.request("POST", "/v1/jobs?x=y", []byte(`{"a":1}`)),
			`POST /v1/jobs?x=y Bearer secret application/json {"a":1}`},
		{to.request("GET", "/", nil), "GET / Bearer secret  "},
	} {
		if status, body, err := l.wires[0].do(t.Context(), c.request, nil); err != nil || status != 200 ||
			string(body) != c.want {
			t.Errorf("got %d %q, %v; want %q", status, body, err, c.want)
		}
	}
}

func TestAConnectionThatTheServerClosesIsOpenedAgain(t *testing.T) {
	t.Parallel()
	var from []string
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		if len(from) == 1 {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusAccepted)
	})
	l := dialed(t, to, 1)
	if _, err := l.closed(t.Context(), 3, to.request("POST", "/", nil)); err != nil {
		t.Fatal(err)
	}
	if len(from) != 3 || from[0] == from[1] || from[1] != from[2] {
		t.Errorf("requests came from %v", from)
	}
}

func TestTheClosedLoopSendsWhatItWasToldAndTimesEach(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	to := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		w.WriteHeader(http.StatusAccepted)
	})
	took, err := dialed(t, to, 8).closed(t.Context(), 100, to.request("POST", "/", nil))
	if err != nil || seen.Load() != 100 || len(took) != 100 {
		t.Fatalf("%d requests, %d times, %v", seen.Load(), len(took), err)
	}
	for i, d := range took {
		if d <= 0 {
			t.Errorf("request %d took %v", i, d)
		}
	}
}

func TestALoopEndsWithTheFirstAnswerThatIsNoYes(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	to := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if seen.Add(1) == 5 {
			http.Error(w, "too fast", http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	_, err := dialed(t, to, 2).closed(t.Context(), 1_000_000, to.request("POST", "/", nil))
	if err == nil || !strings.Contains(err.Error(), "429: too fast") {
		t.Errorf("got %v", err)
	}
}

func TestTheOpenLoopCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.Copy(w, r.Body)
	})
	const n, rate = 20, 500
	due, bodies := make([]time.Time, n), make([]string, n)
	l := dialed(t, to, 1) // one connection, so that answers come in order
	err := l.open(
		t.Context(),
		n,
		rate,
		func(at time.Time) []byte { return to.request("POST", "/", []byte(at.String())) },
		func(i int, at time.Time, body []byte) { due[i], bodies[i] = at, string(body) },
	)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if want := due[0].Add(time.Duration(i) * time.Second / rate); !due[i].Equal(want) ||
			bodies[i] != due[i].String() {
			t.Errorf("request %d was due at %v, not %v, and said %q", i, due[i], want, bodies[i])
		}
	}
}

func TestTheOpenLoopEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	to := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusAccepted)
	})
	err := dialed(
		t,
		to,
		2,
	).open(ctx, 1000, 10, func(time.Time) []byte { return to.request("POST", "/", nil) },
		func(int, time.Time, []byte) {})
	if err == nil {
		t.Error("it ended as if it had sent everything")
	}
}

func TestAServerIsNamedByItsURL(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]target{
		"http://127.0.0.1:8080": {addr: "127.0.0.1:8080", host: "127.0.0.1:8080"},
		"http://[::1]":          {addr: "[::1]:80", host: "[::1]"},
		"https://example.com":   {addr: "example.com:443", host: "example.com", secure: true},
	} {
		if got, err := newTarget(base, ""); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", base, got, err)
		}
	}
	for _, base := range []string{"", "127.0.0.1:8080", "ftp://x", "http://x/path", "http://"} {
		if got, err := newTarget(base, ""); err == nil {
			t.Errorf("%q was taken for %+v", base, got)
		}
	}
}
