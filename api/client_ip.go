package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/peer"
)

// proxies are the peers whose X-Forwarded-For is believed. The header Forwarded never is: a proxy
// that sets one of the two lets clients write the other.
type proxies struct {
	trusted              []netip.Prefix
	log                  *slog.Logger
	unreadable, misnamed sync.Once
}

const forwardedFor = "X-Forwarded-For"

// clientIP is where the request comes from: the peer, or the client that it speaks for where it is
// a trusted proxy.
func (a *API) clientIP(r *http.Request) string {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	ip := addr.Addr()
	switch {
	case err != nil:
		return ""
	case len(a.proxies.trusted) > 0:
		return a.proxies.client(r, plainIP(ip)).String()
	case ip.Is4(): // which has one spelling
		return r.RemoteAddr[:strings.IndexByte(r.RemoteAddr, ':')]
	}
	return plainIP(ip).String()
}

func plainIP(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func (p *proxies) trusts(ip netip.Addr) bool {
	return slices.ContainsFunc(p.trusted, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// client walks from the peer outwards, as long as it meets proxies that are trusted. Where one of
// them names something that is no address, the walk ends at that proxy.
func (p *proxies) client(r *http.Request, ip netip.Addr) netip.Addr {
	hops := strings.Split(strings.Join(r.Header[forwardedFor], ","), ",")
	if len(r.Header[forwardedFor]) == 0 {
		hops = nil
		p.warnOfForwarded(r, ip)
	}
	for i := len(hops) - 1; i >= 0 && p.trusts(ip); i-- {
		next, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			p.unreadable.Do(func() {
				p.log.Warn(
					"a trusted proxy's X-Forwarded-For cannot be read, so that its clients count as one; this is "+
						"logged once",
					"proxy",
					ip.String(),
					"value",
					job.CleanText(hops[i], 100),
				)
			})
			return ip
		}
		ip = next
	}
	return ip
}

func (p *proxies) warnOfForwarded(r *http.Request, ip netip.Addr) {
	if len(r.Header["Forwarded"]) > 0 && p.trusts(ip) {
		p.misnamed.Do(func() {
			p.log.Warn(
				"a trusted proxy sends Forwarded and no X-Forwarded-For, which alone is read: its clients count as "+
					"one; this is logged once",
				"proxy",
				ip.String(),
			)
		})
	}
}

// parseHop reads an address as proxies write it: with or without a port, IPv6 with or without
// brackets and zone.
func parseHop(hop string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]")); err == nil {
		return plainIP(ip), true
	}
	addr, err := netip.ParseAddrPort(hop)
	return plainIP(addr.Addr()), err == nil
}

// network is whom the limits for one peer count a request against; the zero network where a trusted
// proxy does not say for whom it speaks.
func (a *API) network(v *requestInfo) network {
	ip, err := netip.ParseAddr(v.origin.IP)
	if err != nil || a.proxies.trusts(ip) {
		return network{}
	}
	return peer.Network(ip)
}

// countClient is the middleware that counts a proxy's connection against the client that the
// request comes from.
func (a *API) countClient(c *gin.Context) {
	v := requestInfoOf(c)
	var client netip.Addr
	if from := a.network(v); from.IsValid() {
		client = from.Addr()
	}
	end, ok := v.place.conn.Serve(client)
	if !ok {
		refuse(c, errBusy)
		return
	}
	defer end()
	c.Next()
}
