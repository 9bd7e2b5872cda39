package auth

import (
	"context"
	"net/netip"
)

// Origin is where a request comes from, for the audit log and for counting failed sign-ins.
type Origin struct {
	IP        string
	UserAgent string
	RequestID string
}

type originKey struct{}

// WithOrigin adds o to the context of a request. It must not be changed from then on.
func WithOrigin(ctx context.Context, o *Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf answers what WithOrigin was given; the zero Origin for what did not come over the
// network.
func OriginOf(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(*Origin); ok {
		return *o
	}
	return Origin{}
}

// network is what failures are counted against: an IPv4 address, or the /64 of an IPv6 address,
// which one customer usually has. Empty: failures are not counted.
func (o Origin) network() string {
	ip, err := netip.ParseAddr(o.IP)
	if err != nil {
		return o.IP
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, _ := ip.Prefix(64) // fails for lengths that no address has
	return p.String()
}
