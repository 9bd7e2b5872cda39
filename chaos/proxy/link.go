// Package proxy stands on the line between a process and a server, and breaks it as told: late,
// cut, silent, refused, or at the very moment when a named statement or command passes. It
// understands just enough of Redis's and PostgreSQL's protocols to know that moment. For tests
// only.
package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Moment is when a Hook is asked.
type Moment int

const (
	Asked    Moment = iota // the client said it; the server has not heard it
	Answered               // the server did it; the client has not heard so
)

// Event is one statement or command on its way.
type Event struct {
	Moment Moment
	What   string // SQL text, or a Redis command with the kinds of its keys: "EVALSHA pending,paused,active,lease"
	Key    string // Redis: the first key
}

// Verdict is what becomes of the message that an Event announced.
type Verdict struct {
	Cut   bool   // the message is swallowed and the connection closed
	Reply []byte // Redis, Asked: this is answered and the server hears nothing
}

// Hook decides about messages. It may block; the connection waits.
type Hook func(Event) Verdict

// Protocol finds the messages in a stream of bytes.
type Protocol func(decide func(Event) Verdict) session

// session is one connection's view of a protocol. Each reads one whole message, and answers what to
// pass on: nothing, where it was swallowed. back is for the client in place of the server.
type session interface {
	fromClient(r *bufio.Reader) (forward, back []byte, err error)
	fromServer(r *bufio.Reader) (forward []byte, err error)
}

// Link listens for a process and leads it to a server.
type Link struct {
	target   string
	protocol Protocol
	listener net.Listener
	hook     atomic.Pointer[Hook]
	delay    atomic.Int64 // nanoseconds in each direction
	silent   atomic.Bool
	refusing atomic.Bool
	mute     atomic.Bool // nothing passes back to the client

	mu    sync.Mutex
	conns map[*conn]bool
	ended bool
	wg    sync.WaitGroup
}

// New opens a link to target, host:port, on a port of its own.
func New(target string, p Protocol) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a link: %w", err)
	}
	l := &Link{target: target, protocol: p, listener: listener, conns: map[*conn]bool{}}
	l.wg.Go(l.accept)
	return l, nil
}

// Addr is where the process finds the server.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Watch lets h decide about every message; nil: all pass.
func (l *Link) Watch(h Hook) {
	if h == nil {
		l.hook.Store(nil)
		return
	}
	l.hook.Store(&h)
}

// Delay lets every message take that long, each way.
func (l *Link) Delay(d time.Duration) { l.delay.Store(int64(d)) }

// Silence lets nothing pass, either way, and closes nothing: a network that swallows packets.
func (l *Link) Silence(on bool) { l.silent.Store(on) }

// Mute lets nothing pass back to the client.
func (l *Link) Mute(on bool) { l.mute.Store(on) }

// Refuse cuts all connections, and each new one at once: a server that is down.
func (l *Link) Refuse(on bool) {
	l.refusing.Store(on)
	if on {
		l.Cut()
	}
}

// Cut closes all connections of this moment.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.close()
	}
}

// Close ends the link and all connections, and returns when they are gone.
func (l *Link) Close() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	_ = l.listener.Close()
	l.Cut()
	l.wg.Wait()
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		if l.refusing.Load() {
			_ = client.Close()
			continue
		}
		l.wg.Go(func() { l.serve(client) })
	}
}

func (l *Link) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", l.target, 2*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	c := &conn{
		link:     l,
		client:   client,
		server:   server,
		done:     make(chan struct{}),
		toClient: make(chan delayed, 4096),
		toServer: make(chan delayed, 4096),
	}
	if !l.add(c) {
		c.close()
		return
	}
	defer l.remove(c)
	c.run(l.session())
}

func (l *Link) session() session {
	if l.protocol == nil {
		return plain{}
	}
	return l.protocol(func(e Event) Verdict {
		if h := l.hook.Load(); h != nil {
			return (*h)(e)
		}
		return Verdict{}
	})
}

func (l *Link) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *Link) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// errCut is how a session says that the connection shall end here.
var errCut = errors.New("cut")

// plain passes bytes as they come.
type plain struct{}

func (plain) fromClient(r *bufio.Reader) (forward, back []byte, err error) {
	forward, err = some(r)
	return forward, nil, err
}

func (plain) fromServer(r *bufio.Reader) ([]byte, error) { return some(r) }

func some(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	b := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, b)
	return b, err
}
