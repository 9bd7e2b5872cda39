package app_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
)

// inside is a server in a private network. It counts the requests that reach it: there must be
// none.
func inside(t *testing.T) (port string, reached *atomic.Int32) {
	t.Helper()
	reached = new(atomic.Int32)
	port = "0"
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			if host == "::1" {
				break // a machine without IPv6
			}
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				reached.Add(1)
				_ = conn.Close()
			}
		}()
	}
	return port, reached
}

func request(members string) string {
	return `{"type":"http.request","payload":{` + members +
		`},"max_retries":3,"timeout":"10s","backoff":{"kind":"fixed","base":"1h","max":"1h"}}`
}

func TestPrivateNetworksAreNotReachedByRequests(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, newGround(t)...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	port, reached := inside(t)
	var plain []input
	for _, url := range []string{
		"http://127.0.0.1:PORT/", "http://127.1.2.3:PORT/", "http://localhost:PORT/", "http://LOCALHOST.:PORT/",
		"http://x.localhost:PORT/", "http://[::1]:PORT/",
		"http://[::]:PORT/", "http://0.0.0.0:PORT/", "http://0:PORT/",
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/",
		"http://100.64.0.1/", "http://[fd00::1]/",
		"http://[fe80::1]/", "http://[::ffff:10.0.0.1]/", "http://[::ffff:127.0.0.1]:PORT/",
		"http://[64:ff9b::7f00:1]:PORT/", "http://[2002:7f00:1::]:PORT/", "http://2130706433:PORT/",
		"http://0x7f000001:PORT/", "http://0177.0.0.1:PORT/",
		"http://127.1:PORT/", "http://0x7f.1:PORT/", "http://127.0.0.1.:PORT/", "http://①②⑦.⓪.⓪.①:PORT/",
		"http://user:pass@example.com/", "http://user@127.0.0.1:PORT/", "http://example.com@127.0.0.1:PORT/",
		"http://127.0.0.1:PORT\\\\@example.com/",
		"file:///etc/passwd", "gopher://127.0.0.1:PORT/", "ftp://example.com/", "unix:///var/run/x.sock",
		"javascript:alert(1)", "//127.0.0.1:PORT/", "127.0.0.1:PORT", "http://example.com:22/",
		"http://example.com:25/", "http://example.com:0/",
		"http://example.com:65536/", "http://example.com:-1/", "http://", "http:///x", "http://[::1", "http://a b/",
		"http://example.com\\u0009/", "http://example.com\\r\\nHost: x/", "http://%31%32%37.0.0.1:PORT/", "http://" +
			strings.Repeat("a", 3000) + ".com/", "", "nonsense",
	} {
		url = strings.ReplaceAll(url, "PORT", port)
		plain = append(
			plain,
			input{
				fmt.Sprintf("%.60s", url),
				ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: request(`"url":"` + url + `"`)},
				422,
				`"/payload/url"`,
			},
		)
	}
	b.try(plain)
	names := map[string]string{}
	for host := range addresses() {
		names["http://"+host+":"+port+"/"] = b.submit(request(`"url":"http://` + host + `:` + port + `/"`))
	}
	for url, id := range names {
		v := b.finished(id)
		if v.State != job.Archived || !strings.HasPrefix(v.last(), "destination not allowed") || v.Attempt != 1 {
			t.Errorf("%s: %s after %d attempts: %s", url, v.State, v.Attempt, v.last())
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestARedirectIntoAPrivateNetworkIsNotFollowed(t *testing.T) {
	t.Parallel()
	port, reached := inside(t)
	b := newIdleBench(t, append(newGround(t), "WAYBILL_HTTP_ALLOW=127.0.0.2/32")...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	for status := range map[int]bool{301: true, 302: true, 303: true, 307: true, 308: true} {
		addr := serveAt(t, "127.0.0.2:0", func(c net.Conn, _ *http.Request) {
			fmt.Fprintf(
				c,
				"HTTP/1.1 %d Elsewhere\r\nLocation: http://127.0.0.1:%s/\r\nContent-Length: 0\r\n\r\n",
				status,
				port,
			)
		})
		v := b.finished(b.submit(request(`"url":"http://` + addr + `/"`)))
		if v.State != job.Archived || !strings.Contains(v.last(), "redirects are not followed") || v.Attempt != 1 {
			t.Errorf("%d: %s: %s", status, v.State, v.last())
		}
	}
	b.try(
		[]input{
			{
				"a neighbour of what is allowed",
				ask{
					method: "POST",
					path:   "/v1/jobs",
					as:     b.admin.key,
					body:   request(`"url":"http://127.0.0.1:` + port + `/"`),
				},
				422,
				"/payload/url",
			},
		},
	)
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestHeadersThatAreNotTheirsAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf(`"X-%d":"v"`, i))
	}
	tests := map[string]string{`"Host":"x"`: "/Host", `"host":"x"`: "/host", `"Content-Length":"5"`: "/Content-Length",
		`"Transfer-Encoding":"chunked"`: "/Transfer-Encoding", `"Connection":"close"`: "/Connection",
		`"Upgrade":"h2c"`: "/Upgrade", `"TE":"trailers"`: "/TE", `"Trailer":"x"`: "/Trailer",
		`"Expect":"100-continue"`:   "/Expect",
		`"Proxy-Authorization":"x"`: "/Proxy-Authorization",
		`"webhook-id":"x"`:          "/webhook-id", `"Webhook-Signature":"x"`: "/Webhook-Signature",
		`"X-A":"a\r\nX-B: b"`: "/X-A", `"X-A":"a\nb"`: "/X-A", `"X-A":"a\rb"`: "/X-A",
		`"X-A":"\u0001"`: "/X-A", `"X-A":"\u007f"`: "/X-A",
		`"X A":"a"`: "/X A", `"X-A:":"a"`: "/X-A:", `"X\r\nY":"a"`: "/headers/", `"":"a"`: "/headers/",
		`"é":"a"`: "/headers/", `"X-A":"a","x-a":"b"`: "/headers/",
		`"X-A":7`: "/headers/X-A", `"X-A":null`: "/headers/X-A", `"X-A":["a"]`: "/headers/X-A",
		`"X-A":"` + strings.Repeat("v", 9000) + `"`: "/headers", strings.Join(all, ","): "/headers"}
	for headers, says := range tests {
		b.try([]input{{fmt.Sprintf("%.40s", headers), ask{method: "POST", path: "/v1/jobs", as: b.admin.key,
			body: request(`"url":"https://example.com/","headers":{` + headers + `}`)}, 422, says}})
	}
	for _, members := range []string{`"method":"CONNECT"`, `"method":"TRACE"`, `"method":"get"`,
		`"method":"GET /x HTTP/1.1\r\n"`, `"method":""`, `"secret":"short"`,
		`"secret":"whsec_!"`, `"headers":[]`, `"body":1,"method":"GET"`, `"timeout":5`} {
		b.try(
			[]input{
				{
					members,
					ask{
						method: "POST",
						path:   "/v1/jobs",
						as:     b.admin.key,
						body:   request(`"url":"https://example.com/",` + members),
					},
					422,
					"/payload/",
				},
			},
		)
	}
}

func TestAJobThatSubmitsItselfThroughTheAPIComesToAnEnd(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, append(newGround(t), "WAYBILL_HTTP_ALLOW=127.0.0.0/8")...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	body := `{"type":"debug.echo","payload":{}}`
	for range 2 * job.MaxHops { // each submits the one within
		body = request(
			`"url":"http://` + b.addr + `/v1/jobs","headers":{"Authorization":"Bearer ` + b.admin.key + `"},"body":` +
				body,
		)
	}
	v := b.finished(b.submit(body))
	for hop := 1; hop <= job.MaxHops; hop++ {
		var made struct {
			Body string `json:"body"`
		}
		var next view
		b.read(reply{body: string(v.Result)}, &made)
		b.read(reply{body: made.Body}, &next)
		v = b.finished(next.ID)
	}
	if v.State != job.Archived || !strings.Contains(v.last(), "403") {
		t.Errorf("the last of the chain is %s: %s", v.State, v.last())
	}
}

// serveAt answers each request by hand, on a connection of its own.
func serveAt(t *testing.T, addr string, answer func(net.Conn, *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					answer(conn, req)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestWhateverAnEndpointAnswersIsJudgedRight(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, append(newGround(t), "WAYBILL_HTTP_ALLOW=127.0.0.0/8")...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	whole := func(text string) func(net.Conn) { return func(c net.Conn) { _, _ = io.WriteString(c, text) } }
	status := func(line string, headers ...string) func(net.Conn) {
		return whole(
			"HTTP/1.1 " + line + "\r\n" + strings.Join(append(headers, "Content-Length: 0"), "\r\n") + "\r\n\r\n",
		)
	}
	later := func(d time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			status("429 Slow", "Retry-After: "+time.Now().Add(d).UTC().Format(http.TimeFormat))(c)
		}
	}
	pour := func(head string, pause time.Duration, piece string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, head)
			for ; err == nil; _, err = io.WriteString(c, piece) { // until the other side has enough
				if pause > 0 {
					<-time.After(pause)
				}
			}
		}
	}
	tests := map[string]struct {
		answer func(net.Conn)
		state  job.State
		wait   time.Duration // that the endpoint asks for; the job's own backoff is an hour
		says   string        // in the result or the error
	}{
		"10 GB": {
			pour("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", 0, strings.Repeat("x", 64<<10)),
			job.Completed,
			0,
			`"status":200`,
		},
		"an answer that never ends": {
			pour("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 50*time.Millisecond, "1\r\nx\r\n"),
			job.Completed,
			0,
			`"status":200`,
		},
		"headers that never end": {
			pour("HTTP/1.1 200 OK\r\n", 0, "X-More: "+strings.Repeat("x", 1000)+"\r\n"),
			job.Completed,
			0,
			"could not be read",
		},
		"1xx without end":           {pour("", 0, "HTTP/1.1 103 Early Hints\r\n\r\n"), job.Retry, 0, ""},
		"closed at once":            {whole(""), job.Retry, 0, ""},
		"closed in the status line": {whole("HTTP/1.1 20"), job.Retry, 0, ""},
		"closed in a header":        {whole("HTTP/1.1 200 OK\r\nContent-Ty"), job.Retry, 0, ""},
		"closed in the body": {
			whole("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
			job.Completed,
			0,
			"half",
		},
		"no HTTP":                 {whole("SSH-2.0-OpenSSH_9.2\r\n"), job.Retry, 0, ""},
		"a status of four digits": {status("2000 OK"), job.Retry, 0, ""},
		"204":                     {status("204 No Content"), job.Completed, 0, `"status":204`},
		"299":                     {status("299 Odd"), job.Completed, 0, `"status":299`},
		"300":                     {status("300 Choose"), job.Archived, 0, "300"},
		"301": {
			status("301 Moved", "Location: https://example.com/"),
			job.Archived,
			0,
			"redirects are not followed",
		},
		"304":                    {status("304 Not Modified"), job.Archived, 0, "304"},
		"400":                    {status("400 Bad"), job.Archived, 0, "400"},
		"404":                    {status("404 Not Found"), job.Archived, 0, "404"},
		"410":                    {status("410 Gone"), job.Archived, 0, "410"},
		"408":                    {status("408 Timeout"), job.Retry, 0, "408"},
		"425":                    {status("425 Too Early"), job.Retry, 0, "425"},
		"500":                    {status("500 Oops"), job.Retry, 0, "500"},
		"999":                    {status("999 Odd"), job.Retry, 0, "999"},
		"429 with Retry-After 5": {status("429 Slow", "Retry-After: 5"), job.Retry, 5 * time.Second, "429"},
		"429 with a date":        {later(10 * time.Minute), job.Retry, 10 * time.Minute, "429"},
		"429 with a date that passed": {
			status("429 Slow", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
			job.Retry,
			0,
			"429",
		},
		"429 with -1":       {status("429 Slow", "Retry-After: -1"), job.Retry, 0, "429"},
		"429 with nonsense": {status("429 Slow", "Retry-After: soon, maybe"), job.Retry, 0, "429"},
		"429 with a number without end": {
			status("429 Slow", "Retry-After: "+strings.Repeat("9", 100)),
			job.Retry,
			24 * time.Hour,
			"429",
		},
		"503 with Retry-After 60": {status("503 Busy", "Retry-After: 60"), job.Retry, time.Minute, "503"},
		"invalid UTF-8 and NUL": {
			whole("HTTP/1.1 200 OK\r\nX-A: \xff\xfe\r\nContent-Length: 6\r\n\r\na\x00\xff\xfeb\n"),
			job.Completed,
			0,
			`"status":200`,
		},
		"invalid UTF-8 in an error": {
			whole("HTTP/1.1 500 \xff\xfe\r\nContent-Length: 3\r\n\r\n\xff\x00\xfe"),
			job.Retry,
			0,
			"500",
		},
		"a gzip bomb": {
			whole("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"),
			job.Completed,
			0,
			`"status":200`,
		},
		"a cookie": {
			status("200 OK", "Set-Cookie: secret=TOPSECRET"),
			job.Completed,
			0,
			`"status":200`,
		},
		"a thousand headers": {
			whole("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Same: y\r\n", 1000) + "Content-Length: 0\r\n\r\n"),
			job.Completed,
			0,
			`"status":200`,
		},
		"two lengths": {
			whole("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
			job.Completed,
			0,
			"could not be read",
		},
		"a header without a colon": {
			whole("HTTP/1.1 200 OK\r\nno colon\r\n\r\nab"),
			job.Completed,
			0,
			"could not be read",
		},
		"404 without a colon":            {whole("HTTP/1.1 404 No\r\nno colon\r\n\r\nab"), job.Archived, 0, "404"},
		"a connection that says nothing": {pour("", 200*time.Millisecond, ""), job.Retry, 0, "timed out"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := b.in(t)
			addr := serveAt(t, "127.0.0.1:0", func(c net.Conn, _ *http.Request) { test.answer(c) })
			body := request(`"url":"http://` + addr + `/"`)
			if test.says == "timed out" {
				body = strings.Replace(body, `"10s"`, `"500ms"`, 1)
			}
			v := b.becomes(b.submit(body), test.state)
			text := string(v.Result) + v.last()
			if !strings.Contains(text, test.says) || len(text) > 40<<10 || !utf8.ValidString(text) ||
				strings.Contains(text, "TOPSECRET") ||
				bytes.Contains(v.Result,
					[]byte("\\u0000")) {
				t.Errorf("%d bytes: %.300s", len(text), text)
			}
			if strings.Contains(v.last(), "127.0.0.1") || len(v.last()) > 1100 {
				t.Errorf("the error says %s", v.last())
			}
			if test.state == job.Retry {
				least, most := 45*time.Minute, time.Hour // the job's own, which is jittered
				if test.wait > time.Hour {               // else the backoff is the later of the two
					least, most = test.wait-25*time.Second, test.wait+test.wait/5+time.Second
				}
				if wait := time.Until(v.RunAt); wait > most || wait < least {
					t.Errorf("again in %v, want %v to %v", wait, least, most)
				}
			}
		})
	}
}
