package guard

import "net/netip"

// global is the part of IPv6 from which public addresses are given out; unique local, link-local,
// multicast and loopback addresses all lie outside.
var global = netip.MustParsePrefix("2000::/3")

// special lists what is not the public Internet: the registries of RFC 6890 for IPv4 and for IPv6
// within global, and the metadata services of clouds that stand on public addresses.
var special = prefixes(
	"0.0.0.0/8",        // this host
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's wire server
	"169.254.0.0/16",   // link-local, metadata services
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // IETF protocol assignments
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast
	"2001::/23",        // IETF protocol assignments, Teredo among them
	"2001:db8::/32",    // documentation
	"2002::/16",        // 6to4, which wraps any IPv4 address
	"3fff::/20",        // documentation
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// public reports whether a, which is no IPv4-mapped address, is one of the public Internet.
func public(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && (a.Is4() || global.Contains(a)) && !contains(special, a)
}
