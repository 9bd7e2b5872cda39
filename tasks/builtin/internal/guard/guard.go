// Package guard keeps requests that strangers ask for out of private networks. It looks twice: at
// the URL when it is submitted, so that plain mistakes are told at once, and at the address when it
// is dialed, so that no name, redirect or change of DNS leads past it.
package guard

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// MaxURL is the longest URL, in bytes.
const MaxURL = 2048

// ErrNotAllowed is the answer of both looks to a destination that is not on the public Internet.
var ErrNotAllowed = errors.New("destination not allowed: " +
	"WAYBILL_HTTP_ALLOW lists the networks that may be reached beside the public Internet")

// Guard knows which destinations are allowed: the public Internet on the ports 80, 443 and from
// 1024, and the networks given to New on any port.
type Guard struct {
	allow []netip.Prefix
}

// New makes a guard that lets the given private networks be reached all the same.
func New(allow []netip.Prefix) *Guard { return &Guard{allow: slices.Clone(allow)} }

// Control is for net.Dialer: it is asked after the name was resolved, before anything is sent, for
// each address tried.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !g.permits(to.Addr().Unmap(), to.Port()) {
		return ErrNotAllowed
	}
	return nil
}

// permits judges an address by where its packets end up: an IPv6 address that carries an IPv4
// address is judged by that one, and must be reachable itself as well. NAT64's well-known prefix
// always is.
func (g *Guard) permits(a netip.Addr, port uint16) bool {
	if inner, ok := g.embedded(a); ok {
		return (nat64.Contains(a) || contains(g.allow, a)) && g.permits(inner, port)
	}
	return contains(g.allow, a) || public(a) && publicPort(port)
}

// reaches is permits without the port.
func (g *Guard) reaches(a netip.Addr) bool { return g.permits(a, 443) }

// publicPort leaves out the ports of mail, shells and the like, which an HTTP request could be made
// to speak to.
func publicPort(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

// CheckURL says what is wrong with a URL, in words for its author; the error wraps nothing but
// ErrNotAllowed. A URL that passes may still be refused by Control.
func (g *Guard) CheckURL(raw string) error {
	if len(raw) > MaxURL {
		return errors.New("must have at most " + strconv.Itoa(MaxURL) + " bytes")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("must be a valid URL") // the parser's words repeat the URL
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return errors.New("must start with https:// or http://")
	case u.User != nil:
		return errors.New("must not hold a user name or password")
	case u.Hostname() == "":
		return errors.New("must name a host")
	}
	port, err := portOf(u)
	if err != nil {
		return err
	}
	return g.checkHost(u.Hostname(), strings.HasPrefix(u.Host, "["), port)
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		return map[string]uint16{"http": 80, "https": 443}[u.Scheme], nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("must have a port from 1 to 65535")
	}
	return uint16(port), nil
}

func (g *Guard) checkHost(host string, bracketed bool, port uint16) error {
	if bracketed || endsInNumber(host) {
		return g.checkAddress(host, port)
	}
	if err := checkName(host); err != nil {
		return err
	}
	if isLocal(host) && !g.allowsLoopback() {
		return ErrNotAllowed
	}
	if !publicPort(port) && len(g.allow) == 0 { // else only the address can tell
		return errors.New("must use port 80, 443, or one from 1024")
	}
	return nil
}

// checkAddress takes an address in its one canonical form only: octal, hexadecimal and short forms
// mean different things to different resolvers, and zones and IPv4 inside IPv6 have no use but
// going around a guard.
func (g *Guard) checkAddress(host string, port uint16) error {
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil || a.Zone() != "" || a.Is4In6():
		return errors.New("must write an IP address in its plain form")
	case !g.reaches(a):
		return ErrNotAllowed
	case !g.permits(a, port):
		return errors.New("must use port 80, 443, or one from 1024")
	}
	return nil
}

// endsInNumber is the test of the URL standard
// (https://url.spec.whatwg.org/#ends-in-a-number-checker): such a host is an IPv4 address to some
// reader, and no domain name.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// checkName takes ASCII names only: the mapping of other letters could turn them into another name,
// or an address.
func checkName(host string) error {
	if len(host) > 253 {
		return errors.New("must name a host of at most 253 characters")
	}
	for _, label := range strings.Split(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return !isNameRune(r) }) {
			return errors.New("must name a host in letters, digits and hyphens (punycode for others)")
		}
	}
	return nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

func isLocal(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "localhost.localdomain" ||
		host == "ip6-localhost" || host == "ip6-loopback"
}

func (g *Guard) allowsLoopback() bool {
	return contains(g.allow, netip.AddrFrom4([4]byte{127, 0, 0, 1})) || contains(g.allow, netip.IPv6Loopback())
}
