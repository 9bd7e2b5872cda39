package guard

import (
	"encoding/binary"
	"net/netip"
)

// Prefixes of IPv6 whose addresses carry an IPv4 address that the packet ends up at.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052, the well-known prefix
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215, a network's own prefix
	sixToFour  = netip.MustParsePrefix("2002::/16")      // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")      // RFC 4380
	compatible = netip.MustParsePrefix("::/96")          // RFC 4291, deprecated
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// embedded is the IPv4 address that a carries. In a network's own NAT64 prefix its place depends on
// the prefix's length, which is that of the allowed network that contains a.
func (g *Guard) embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case a.Is4(), a.IsUnspecified(), a.IsLoopback():
		return netip.Addr{}, false
	case nat64.Contains(a), compatible.Contains(a), translated.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(a): // the client's address, with every bit flipped
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], ^binary.BigEndian.Uint32(b[12:]))
		return netip.AddrFrom4(v4), true
	case nat64Local.Contains(a):
		return rfc6052(b, g.allowedLength(a)), true
	}
	return netip.Addr{}, false
}

// allowedLength is the length of the longest allowed network that contains a; 96 where none does.
func (g *Guard) allowedLength(a netip.Addr) int {
	length := 0
	for _, p := range g.allow {
		if p.Contains(a) {
			length = max(length, p.Bits())
		}
	}
	if length < nat64Local.Bits() || length > 96 {
		return 96
	}
	return length
}

// rfc6052 reads the IPv4 address behind a prefix of 48, 56, 64 or 96 bits. Byte 8 is always zero
// and no part of it (RFC 6052, section 2.2).
func rfc6052(b [16]byte, length int) netip.Addr {
	at := length / 8
	if at >= 9 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	var v4 [4]byte
	for i := range v4 {
		if at == 8 {
			at++
		}
		v4[i] = b[at]
		at++
	}
	return netip.AddrFrom4(v4)
}
