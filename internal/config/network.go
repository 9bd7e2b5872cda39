package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks is a list of networks of IP addresses.
type Networks []netip.Prefix

// UnmarshalText reads "10.0.0.0/8,fd00::/8,127.0.0.1": CIDR prefixes without host bits, and single
// addresses.
func (n *Networks) UnmarshalText(text []byte) error {
	var networks Networks
	for item := range strings.SplitSeq(string(text), ",") {
		p, err := parseNetwork(strings.TrimSpace(item))
		if err != nil {
			return err
		}
		networks = append(networks, p)
	}
	*n = networks
	return nil
}

func parseNetwork(item string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(item)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("want networks like 10.0.0.0/8,fd00::/8, got %q", item)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("want an IPv4 network in its own form, got %q", item)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("want %s for that network, got %q", p.Masked(), item)
	}
	return p, nil
}
