// Package peer bounds what the other ends of an HTTP server's connections may hold: how many
// connections, how many requests that they have begun and not sent whole, and how long a write to
// one that does not read may take.
//
// A connection that waits for its peer may be closed to make room for another; one whose request is
// worked on is never.
package peer

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound the connections of one server.
type Limits struct {
	Conns      int // of one peer address (IPv6: of one /64), requests that wait for a job not counted
	Unfinished int // requests of one peer that it has not sent whole, or whose answers it does not take
	Total      int // connections of all peers; lowered to what the limit on open files leaves room for

	// Proxies are peers that speak for many clients. Their connections are counted against the
	// client that they name, and against none where they name none.
	Proxies []netip.Prefix
}

const (
	// A connection that moved a byte more recently is closed only where no other is left.
	stalledAfter = time.Second
	scanEvery    = 200 * time.Millisecond // how often a peer's unfinished requests are counted at most
	// One scan closes a sixteenth of what it looked at, so that a flood does not scan for each
	// connection.
	evictShare = 16
)

// Guard is the listener of a server whose connections are bounded.
type Guard struct {
	net.Listener
	limits Limits
	began  time.Time // moments are durations since then: they do not jump with the wall clock

	mu    sync.Mutex
	conns map[*Conn]struct{}
	peers map[netip.Prefix]*holder
}

// holder is what one peer holds. Its fields belong to Guard.mu, but for waiting.
type holder struct {
	conns   map[*Conn]struct{}
	scanned time.Duration
	waiting atomic.Int64
}

// Protect makes server count its connections, and answers the listener that it must be given.
// Writes get deadlines of their own, so that the server needs no WriteTimeout.
func Protect(server *http.Server, l net.Listener, limits Limits) *Guard {
	limits.Total = withinOpenFiles(limits.Total)
	g := &Guard{
		Listener: l,
		limits:   limits,
		began:    time.Now(),
		conns:    map[*Conn]struct{}{},
		peers:    map[netip.Prefix]*holder{},
	}
	server.WriteTimeout = 0
	server.ConnState = func(c net.Conn, s http.ConnState) {
		if c, ok := c.(*Conn); ok {
			c.follow(s)
		}
	}
	before := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	return g
}

func (g *Guard) now() time.Duration { return time.Since(g.began) }

type connKey struct{}

// Of is the connection that a request came over; nil where it came over none that is bounded. A nil
// *Conn may be used: it counts nothing.
func Of(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Accept waits for a connection that there is room for, or can be made.
func (g *Guard) Accept() (net.Conn, error) {
	for {
		raw, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := g.admit(raw); c != nil {
			return c, nil
		}
		_ = raw.Close() // its peer has too many connections already
	}
}

// admit counts a new connection, and answers nil where there is no room and none can be made.
func (g *Guard) admit(raw net.Conn) *Conn {
	c := &Conn{Conn: raw, guard: g}
	c.since.Store(int64(g.now()))
	addr, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	c.proxy = err == nil &&
		slices.ContainsFunc(
			g.limits.Proxies,
			func(p netip.Prefix) bool { return p.Contains(addr.Addr().Unmap().WithZone("")) },
		)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.limits.Total && !g.evict(g.conns, len(g.conns)/evictShare) {
		return nil
	}
	if err == nil && !c.proxy && !g.join(c, Network(addr.Addr())) {
		return nil
	}
	g.conns[c] = struct{}{}
	return c
}

// join counts c against a peer. Called with mu held.
func (g *Guard) join(c *Conn, peer netip.Prefix) bool {
	h := g.peers[peer]
	if h == nil {
		h = &holder{conns: map[*Conn]struct{}{}}
		g.peers[peer] = h
	}
	if !g.roomFor(h) {
		return false
	}
	h.conns[c] = struct{}{}
	c.peer, c.holder = peer, h
	return true
}

func (g *Guard) roomFor(h *holder) bool {
	if now := g.now(); len(h.conns) > g.limits.Unfinished && now-h.scanned >= scanEvery {
		h.scanned = now
		g.trim(h, now)
	}
	if len(h.conns)-int(h.waiting.Load()) < g.limits.Conns {
		return true
	}
	return g.evict(h.conns, len(h.conns)/evictShare)
}

// trim closes the oldest of a peer's unfinished requests beyond the limit.
func (g *Guard) trim(h *holder, now time.Duration) {
	var unfinished []*Conn
	for c := range h.conns {
		if phase(c.phase.Load()) == unfinishedPhase && now-c.moved() >= stalledAfter {
			unfinished = append(unfinished, c)
		}
	}
	if over := len(unfinished) - g.limits.Unfinished; over > 0 {
		slices.SortFunc(unfinished, longestSilent)
		g.drop(unfinished[:over])
	}
}

// evict closes some of the connections that wait for their peers, one at least: first unfinished
// requests that have not moved for a while, then idle connections, then what moved only a moment
// ago, each the longest silent first. It answers false where there are none.
func (g *Guard) evict(among map[*Conn]struct{}, most int) bool {
	now := g.now()
	var ranks [3][]*Conn
	for c := range among {
		if r, ok := c.rank(now); ok {
			ranks[r] = append(ranks[r], c)
		}
	}
	for i, list := range ranks {
		if len(list) == 0 {
			continue
		}
		if i == len(ranks)-1 {
			most = 1
		}
		slices.SortFunc(list, longestSilent)
		g.drop(list[:min(max(most, 1), len(list))])
		return true
	}
	return false
}

func longestSilent(a, b *Conn) int { return cmp.Compare(a.moved(), b.moved()) }

// drop closes connections. Called with mu held.
func (g *Guard) drop(list []*Conn) {
	for _, c := range list {
		g.forget(c)
		_ = c.Conn.Close()
	}
}

// forget uncounts c. Called with mu held.
func (g *Guard) forget(c *Conn) {
	delete(g.conns, c)
	g.part(c)
}

// part uncounts c against its peer. Called with mu held.
func (g *Guard) part(c *Conn) {
	h := c.holder
	if h == nil {
		return
	}
	if delete(h.conns, c); len(h.conns) == 0 && g.peers[c.peer] == h {
		delete(g.peers, c.peer)
	}
	c.holder = nil
}

// CloseSilent closes the connections that wait for their peers and have not moved for as long as
// given, so that a shutdown does not wait for them.
func (g *Guard) CloseSilent(since time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	var silent []*Conn
	for c := range g.conns {
		if phase(c.phase.Load()) == unfinishedPhase && now-c.moved() >= since {
			silent = append(silent, c)
		}
	}
	g.drop(silent)
}

// Network is what one customer has for himself: an IPv4 address, or the /64 of an IPv6 address.
func Network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // fails for lengths that no address has
	return p
}
