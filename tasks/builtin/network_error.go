package builtin

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/waybill/waybill/internal/job"
)

// networkError says what went wrong on the network, in words for the job's owner: without the
// addresses that the errors of package net carry, which are those of resolvers, of our own
// machines, and of where a name led.
func networkError(err error) string {
	var (
		dns *net.DNSError
		op  *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		return resolverError(dns)
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + ": " + withoutAddresses(op.Err.Error())
	}
	return withoutAddresses(err.Error())
}

// resolverError leaves out dns.Err, which may be that of a connection to the resolver.
func resolverError(dns *net.DNSError) string {
	switch {
	case dns.IsNotFound:
		return "the host's name could not be resolved: no such host"
	case dns.IsTimeout:
		return "the host's name could not be resolved in time"
	}
	return "the host's name could not be resolved: the resolver failed"
}

// addressLike finds what may be an IP address, with or without a port; netip decides.
var addressLike = regexp.MustCompile(
	`\[?[0-9A-Fa-f:.]*(?:\.[0-9]{1,3}\.|:[0-9A-Fa-f]*:)[0-9A-Fa-f:.]*(?:%[0-9A-Za-z_.-]+)?(?:\]:[0-9]+|\])?`,
)

// withoutAddresses replaces IP addresses in a text.
func withoutAddresses(text string) string {
	return addressLike.ReplaceAllStringFunc(job.CleanText(text, job.MaxText), func(found string) string {
		bare := strings.TrimRight(strings.Trim(found, "[]"), ".:")
		if _, err := netip.ParseAddr(bare); err == nil {
			return "[address]" + found[len(strings.TrimRight(found, ".:")):]
		}
		if _, err := netip.ParseAddrPort(strings.TrimRight(found, ".:")); err == nil {
			return "[address]" + found[len(strings.TrimRight(found, ".:")):]
		}
		return found
	})
}
