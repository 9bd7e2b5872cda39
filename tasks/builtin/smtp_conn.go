package builtin

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// wire is the connection of one SMTP session. The mail library heeds a context only while it dials;
// bind makes the end of the context end the whole session.
type wire struct {
	cfg      *tls.Config
	implicit bool

	mu    sync.Mutex
	conn  net.Conn
	ended bool
}

// bind cuts the wire when ctx ends. The function it returns lets go of ctx.
func (w *wire) bind(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, w.cut)
	return func() { stop() }
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.conn != nil {
		w.conn.Close()
	}
}

// drop closes the connection of a session that is over, so that another may follow.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.Close()
	}
}

// hold keeps conn for cut, which may have come before it.
func (w *wire) hold(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	if w.ended {
		conn.Close()
	}
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: smtpDialTime}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.hold(conn)
	if !w.implicit {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, smtpDialTime)
	defer cancel()
	secure := tls.Client(conn, w.cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
