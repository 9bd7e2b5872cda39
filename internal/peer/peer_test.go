package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

// serve runs h behind a guard and answers its address.
func serve(t *testing.T, limits Limits, h http.HandlerFunc) (addr string, g *Guard) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadTimeout: time.Minute}
	g = Protect(s, l, limits)
	go func() { _ = s.Serve(g) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String(), g
}

// dial connects from a loopback address and sends the beginning of a request.
func dial(t *testing.T, from, addr, text string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"

// closed tells whether the server has ended the connection.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func readBody(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

func (g *Guard) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// settled waits until all connections have been silent for long enough to be closed.
func (g *Guard) settled(t *testing.T, n int) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		silent := 0
		for c := range g.conns {
			if g.now()-c.moved() > stalledAfter {
				silent++
			}
		}
		return silent >= n
	}, "%d connections are not silent", n)
}

func ask(t *testing.T, from, addr string) error {
	t.Helper()
	c := dial(t, from, addr, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return nil
}

func TestAFullPeerLosesItsOldestHalfRequest(t *testing.T) {
	t.Parallel()
	received := make(chan struct{})
	addr, g := serve(t, Limits{Conns: 4, Unfinished: 100, Total: 1000}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			received <- struct{}{}
		}
		readBody(w, r)
	})
	// Its last byte has been read when this returns, so the order of silence is known.
	open := func(from string) net.Conn {
		c := dial(t, from, addr, half)
		<-received
		return c
	}
	var conns []net.Conn
	for range 4 {
		conns = append(conns, open("127.0.0.1"))
	}
	other := open("127.0.0.2")
	g.settled(t, 5)
	if err := ask(t, "127.0.0.1", addr); err != nil {
		t.Errorf("a new request of the same peer: %v", err)
	}
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return closed(conns[0]) },
		"the peer's oldest half request is not closed",
	)
	if closed(conns[1]) || closed(conns[3]) || closed(other) {
		t.Error("not only the oldest was closed")
	}
}

func TestUnfinishedRequestsBeyondTheLimitAreClosed(t *testing.T) {
	t.Parallel()
	addr, g := serve(t, Limits{Conns: 1000, Unfinished: 3, Total: 1000}, readBody)
	for range 10 {
		dial(t, "127.0.0.1", addr, half)
	}
	g.settled(t, 10)
	if err := ask(t, "127.0.0.1", addr); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return g.count() == 3 }, "%d are left", 3)
}

func TestAFullServerMakesRoomWhoeverComes(t *testing.T) {
	t.Parallel()
	addr, g := serve(t, Limits{Conns: 1000, Unfinished: 1000, Total: 64}, readBody)
	for i := range 64 {
		dial(t, fmt.Sprintf("127.0.1.%d", i+1), addr, half)
	}
	g.settled(t, 64)
	for i := range 3 {
		if err := ask(t, fmt.Sprintf("127.0.2.%d", i+1), addr); err != nil {
			t.Errorf("a newcomer: %v", err)
		}
	}
}

func TestWorkAndWaitsAreNotClosedToMakeRoom(t *testing.T) {
	t.Parallel()
	free, busy := make(chan struct{}), make(chan struct{}, 2)
	addr, g := serve(t, Limits{Conns: 2, Unfinished: 100, Total: 100}, func(w http.ResponseWriter, r *http.Request) {
		c := Of(r.Context())
		c.Work()
		switch r.URL.Path {
		case "/work":
			busy <- struct{}{}
			<-free
		case "/wait":
			defer c.Wait()()
			busy <- struct{}{}
			<-free
		}
	})
	work := dial(t, "127.0.0.1", addr, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
	wait := dial(t, "127.0.0.1", addr, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	<-busy
	<-busy
	if err := ask(t, "127.0.0.1", addr); err != nil { // the one that waits does not count
		t.Error(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return g.count() == 2 }, "the third is not gone")
	second := dial(t, "127.0.0.1", addr, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
	<-busy
	if err := ask(t, "127.0.0.1", addr); err == nil {
		t.Error("there is room where all is worked on")
	}
	close(free)
	for _, c := range []net.Conn{work, wait, second} {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestAProxysConnectionsCountForItsClients(t *testing.T) {
	t.Parallel()
	proxy := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	addr, g := serve(
		t,
		Limits{Conns: 2, Unfinished: 100, Total: 100, Proxies: proxy},
		func(w http.ResponseWriter, r *http.Request) {
			client, _ := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
			end, ok := Of(r.Context()).Serve(client)
			if !ok {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer end()
			readBody(w, r)
		},
	)
	forwarded := strings.Replace(half, "\r\n\r\n", "\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n", 1)
	first := dial(t, "127.0.0.1", addr, forwarded)
	g.settled(t, 1)
	for range 3 {
		dial(t, "127.0.0.1", addr, forwarded)
	}
	testenv.Eventually(t, time.Minute, func() bool { return closed(first) }, "the client has more than its share")
	for range 5 {
		dial(t, "127.0.0.1", addr, half) // of no client that is known
	}
	testenv.Eventually(t, time.Minute, func() bool { return g.count() == 7 }, "the proxy itself is bounded")
}

func TestAReaderThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	ends := make(chan error, 1)
	addr, _ := serve(t, Limits{Conns: 10, Unfinished: 10, Total: 100}, func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(make([]byte, 64<<20))
		ends <- err
	})
	dial(t, "127.0.0.1", addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ends:
		if err == nil {
			t.Error("64 MiB went to a peer that reads nothing")
		}
	case <-time.After(4 * writeTimeout):
		t.Error("the write goes on")
	}
}

func TestAStoppingServerDoesNotWaitForSilentPeers(t *testing.T) {
	t.Parallel()
	addr, g := serve(t, Limits{Conns: 10, Unfinished: 10, Total: 100}, readBody)
	c := dial(t, "127.0.0.1", addr, half)
	g.settled(t, 1)
	g.CloseSilent(stalledAfter)
	testenv.Eventually(t, time.Minute, func() bool { return closed(c) && g.count() == 0 }, "it is still there")
}

func TestAnIPv6CustomerIsANetwork(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{"203.0.113.9": "203.0.113.9/32", "::ffff:203.0.113.9": "203.0.113.9/32",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64",
		"fe80::1%eth0":      "fe80::/64"} {
		if got := Network(netip.MustParseAddr(ip)).String(); got != want {
			t.Errorf("%s is of %s, want %s", ip, got, want)
		}
	}
}
