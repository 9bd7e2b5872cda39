package builtin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/guard"
)

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
		if _, err := request(t, HTTPConfig{}, `{"url":"http://`+host+`:`+port+`/"}`); !tasks.IsPermanent(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
	// A name that passed every check and resolves into a private network when it is dialed.
	client := newHTTPClients(guard.New(nil)).pooled
	for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		_, err := client.Get("http://" + host + ":" + port + "/")
		if err = sendError(t.Context(), err); !tasks.IsPermanent(err) ||
			!strings.HasPrefix(err.Error(), "destination not allowed") {
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
	clients := newHTTPClients(guard.New(nil))
	for _, client := range []*http.Client{clients.pooled, clients.fresh} {
		if client.Transport.(*http.Transport).Proxy != nil {
			t.Error("a proxy would dial for us, past the guard")
		}
	}
}

func TestSendErrorsShowNeitherTheURLNorOurNetwork(t *testing.T) {
	t.Parallel()
	for _, inner := range []error{
		&net.DNSError{Err: "no such host", Name: "example.com", Server: "10.9.8.7:53", IsNotFound: true},
		&net.DNSError{Err: "i/o timeout", Name: "example.com", Server: "10.9.8.7:53", IsTimeout: true},
		&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 9, 8, 7)},
			Err: errors.New("no route to host")},
		&net.DNSError{Err: "dial udp 10.9.8.7:53: connect: connection refused", Name: "example.com",
			Server: "10.9.8.7:53"},
		&net.DNSError{Err: "read udp 172.17.0.2:40000->10.9.8.7:53: i/o timeout", Name: "example.com",
			IsTemporary: true},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.AddrError{Err: "unexpected address type", Addr: "10.9.8.7"}},
		errors.New("proxyconnect tcp: dial tcp [fd00:ec2::254%eth0]:443: connect: no route to host (local 10.9.8.7:1)"),
		io.ErrUnexpectedEOF,
	} {
		err := sendError(t.Context(), &url.Error{Op: "Post", URL: "https://example.com/?TOPSECRET", Err: inner})
		if tasks.IsPermanent(err) || strings.Contains(err.Error(), "TOPSECRET") ||
			strings.Contains(err.Error(), "10.9.8.7") ||
			strings.Contains(err.Error(), "172.17") ||
			strings.Contains(err.Error(), "fd00") {
			t.Errorf("%T: %v", inner, err)
		}
	}
}

func loopbackGuard() *guard.Guard { return guard.New(loopback.Allow) }

// trust makes the clients take a server's own certificate.
func trust(c *httpClients, cert tls.Certificate) {
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	pool.AddCert(leaf)
	c.dial.tls.RootCAs = pool
}
