package builtin

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"strconv"
	"sync"
)

// maxAnswerHead is how much of an answer's beginning a headConn keeps: room for interim answers
// (1xx) and the status line.
const maxAnswerHead = 8 << 10

// headConn keeps the first bytes of each answer on an HTTP/1 connection. net/http returns no status
// for an answer whose header it refuses to read, though the endpoint has done the work that it
// reports.
type headConn struct {
	net.Conn

	mu    sync.Mutex
	head  []byte
	ended bool // no more will come
}

func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head = append(c.head, p[:min(n, maxAnswerHead-len(c.head))]...)
	c.ended = c.ended || err != nil
	return n, err
}

// begin forgets the answer to the request before.
func (c *headConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head = c.head[:0]
}

// answer is what is kept, and whether the connection ended there.
func (c *headConn) answer() (head []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.head), c.ended && len(c.head) < maxAnswerHead
}

// statusOf reads the status of the final answer that begins with head; 0 where its status line is
// not there in full, or its header breaks off because the connection ended.
func statusOf(head []byte, ended bool) int {
	for {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		status := statusLine(bytes.TrimSuffix(line, []byte("\r")))
		if !whole || status == 0 {
			return 0
		}
		if status >= 200 && ended && afterHeader(rest) == nil {
			return 0
		}
		if status >= 200 {
			return status
		}
		if head = afterHeader(rest); head == nil {
			return 0
		}
	}
}

// statusLine reads "HTTP/1.1 200 OK" (RFC 9112, section 4); the reason may be missing.
func statusLine(line []byte) int {
	version, rest, ok := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(rest, []byte(" "))
	status, err := strconv.Atoi(string(code))
	if !ok || len(code) != 3 || err != nil || status < 100 || len(version) != 8 ||
		!bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return 0
	}
	return status
}

// afterHeader is what follows the empty line at the end of a header; nil where there is none yet.
func afterHeader(text []byte) []byte {
	for {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			return nil
		}
		if len(bytes.TrimSuffix(line, []byte("\r"))) == 0 {
			return rest
		}
		text = rest
	}
}

// exchange watches which connection a request travels on. An HTTP/2 connection has no headConn: its
// answers are frames.
type exchange struct {
	conn   *headConn
	reused bool
}

// watch makes the requests of the context it returns known to x.
func (x *exchange) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		x.conn, _ = info.Conn.(*headConn)
		x.reused = info.Reused
		if x.conn != nil {
			x.conn.begin()
		}
	}})
}

// status is what the endpoint answered, read from the wire; 0: not known.
func (x *exchange) status() int {
	if x.conn == nil {
		return 0
	}
	return statusOf(x.conn.answer())
}

// closedIdle reports whether the request went out on a connection that had been idle and brought
// not one byte back: most likely the endpoint had closed it by then.
func (x *exchange) closedIdle() bool {
	if x.conn == nil || !x.reused {
		return false
	}
	head, _ := x.conn.answer()
	return len(head) == 0
}

// dialHTTP makes connections for a transport, so that the first bytes of their answers are kept.
type dialHTTP struct {
	dialer net.Dialer
	tls    *tls.Config
}

func (d *dialHTTP) plain(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn}, nil
}

// secure also negotiates HTTP/2, whose connections the transport must get as they are.
func (d *dialHTTP) secure(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := d.tls.Clone()
	if cfg.ServerName, _, err = net.SplitHostPort(address); err != nil {
		conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, cfg)
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		return secure, nil
	}
	return &headConn{Conn: secure}, nil
}
