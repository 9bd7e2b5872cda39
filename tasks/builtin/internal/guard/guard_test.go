package guard

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestCheckURLTakesPublicDestinations(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"https://example.com", "http://example.com/", "https://example.com:443/a?b=c#d",
		"http://Sub.Example.COM.:8080/x",
		"https://xn--bcher-kva.example/", "https://8.8.8.8/", "http://[2606:4700::1111]:1024/", "https://a_b.example/",
		"https://1.example.com/", "https://0x.example/",
	} {
		if err := New(nil).CheckURL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

var private = []string{
	"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
	"100.64.0.1",
	"100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
	"224.0.0.1",
	"239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16",
	"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
	"2001:0:1::1",
	"2001:db8::1", "::127.0.0.1", "100::1", "3fff::1", "fec0::1", "5f00::1",
}

func TestCheckURLRefusesPrivateAddresses(t *testing.T) {
	t.Parallel()
	for _, a := range private {
		host := a
		if strings.Contains(a, ":") {
			host = "[" + a + "]"
		}
		if err := New(nil).CheckURL("http://" + host + "/"); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestControlRefusesPrivateAddressesAndPorts(t *testing.T) {
	t.Parallel()
	g := New(nil)
	for _, a := range append(private, "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0") {
		if err := g.Control("tcp", netip.AddrPortFrom(netip.MustParseAddr(a), 443).String(), nil); !errors.Is(
			err,
			ErrNotAllowed,
		) {
			t.Errorf("%s: %v", a, err)
		}
	}
	for to, ok := range map[string]bool{"8.8.8.8:443": true, "8.8.8.8:80": true, "8.8.8.8:1024": true,
		"[2606:4700::1]:8443":  true,
		"[::ffff:8.8.8.8]:443": true, "8.8.8.8:22": false, "8.8.8.8:25": false, "8.8.8.8:1023": false,
		"8.8.8.8:0": false, "": false, "nonsense": false} {
		if err := g.Control("tcp", to, nil); (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestCheckURLRefusesTricks(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", " ", "example.com", "//example.com", "/a", "ftp://example.com", "file:///etc/passwd",
		"gopher://example.com", "javascript:alert(1)",
		"http:example.com", "http:///x", "http://", "http://:80/", "https://user@example.com",
		"https://user:pass@example.com", "https://@example.com",
		"http://localhost", "http://LOCALHOST.:80", "http://a.localhost", "http://localhost.localdomain",
		"http://ip6-localhost",
		"http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f.1/",
		"http://127.0.0.1./", "http://8.8.8.8./",
		"http://010.8.8.8/", "http://8.8.8.0x8/", "http://1.2.3.4.5/", "http://999.1.1.1/", "http://1/",
		"http://example.0x/", "http://example.09/",
		"http://[::ffff:10.0.0.1]/", "http://[::ffff:8.8.8.8]/", "http://[fe80::1%25eth0]/",
		"http://[2606:4700::1%25lo]/", "http://[::1", "http://[]/", "http://[example.com]/",
		"http://example.com:22/", "http://example.com:25/", "http://example.com:0/", "http://example.com:1023/",
		"http://example.com:65536/", "http://example.com:-1/", "http://example.com:x/",
		"http://127.0.0.1/", "http://127.0.0.1/", "http://①②⑦.0.0.1/", "http://bücher.example/",
		"http://%31%32%37.0.0.1/", "http://exa%6dple.com/", "http://a..b/", "http://.a/", "http://a b/",
		"http://example.com\\@127.0.0.1/", "http://example.com\r\nX: y/", "http://example.com\x00/", "http://" +
			strings.Repeat("a", 64) + ".com/",
		"http://" + strings.Repeat("a.", 127) + "com/", "https://example.com/" + strings.Repeat("x", MaxURL),
	} {
		if err := New(nil).CheckURL(raw); err == nil {
			t.Errorf("%q was taken", raw)
		}
	}
}

func TestAllowedNetworksMayBeReachedOnAnyPort(t *testing.T) {
	t.Parallel()
	g := New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00:1::/32")})
	for _, raw := range []string{"http://127.0.0.1:22/", "http://localhost:9/", "http://[fd00:1::5]:1/",
		"http://internal.example:22/"} {
		if err := g.CheckURL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for _, raw := range []string{"http://10.0.0.1/", "http://[fd00:2::1]/", "http://[::1]/", "http://8.8.8.8:22/",
		"http://2130706433/"} {
		if err := g.CheckURL(raw); err == nil {
			t.Errorf("%s was taken", raw)
		}
	}
	for to, ok := range map[string]bool{"127.0.0.1:22": true, "[::ffff:127.0.0.1]:22": true, "10.0.0.1:80": false,
		"8.8.8.8:22": false, "[fd00:1::9]:5": true} {
		if err := g.Control("tcp", to, nil); (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// An IPv6 address that carries an IPv4 address leads to that one.
func TestAnEmbeddedAddressIsJudgedAsIfItWereDialed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		address string
		allow   string
		ok      bool
	}{
		{"64:ff9b::808:808", "", true}, // DNS64 answers so for 8.8.8.8
		{"64:ff9b::a00:1", "", false},
		{"64:ff9b::a9fe:a9fe", "", false},
		{"64:ff9b::a00:1", "10.0.0.0/8", true},
		{"64:ff9b::a00:1", "64:ff9b::/96", false}, // the wrapper alone opens nothing
		{"64:ff9b::a9fe:a9fe", "64:ff9b::/96,10.0.0.0/8", false},
		{"64:ff9b:1::808:808", "", false},
		{"64:ff9b:1::808:808", "64:ff9b:1::/96", true},
		{"64:ff9b:1::a00:1", "64:ff9b:1::/96", false},
		{"64:ff9b:1::a00:1", "64:ff9b:1::/96,10.0.0.0/8", true},
		{"64:ff9b:1:a00:0:100::", "64:ff9b:1::/48", false}, // 10.0.0.1 behind a prefix of 48 bits, around byte 8
		{"64:ff9b:1:808:8:800::", "64:ff9b:1::/48", true},
		{"64:ff9b:1:a00:0:100::", "64:ff9b:1::/48,10.0.0.0/8", true},
		{"64:ff9b:1:a:a:0:100:0", "64:ff9b:1:a::/64", false}, // behind 64 bits, 10.0.0.1 begins at byte 9
		{"2002:808:808::1", "", false},
		{"2002:808:808::1", "2002::/16", true},
		{"2002:7f00:1::1", "2002::/16", false},
		{"2001:0:808:808::f5ff:fffe", "2001::/32", false}, // Teredo, 10.0.0.1 with every bit flipped
		{"2001:0:808:808::f7f7:f7f7", "2001::/32", true},
		{"::7f00:1", "::/0", false},
		{"::ffff:0:a00:1", "::/0", false},
		{"::1", "::/0", true},
		{"fd00::1", "::/0", true},
	} {
		var allow []netip.Prefix
		for _, p := range strings.Split(c.allow, ",") {
			if p != "" {
				allow = append(allow, netip.MustParsePrefix(p))
			}
		}
		g := New(allow)
		if err := g.Control("tcp6", "["+c.address+"]:443", nil); (err == nil) != c.ok {
			t.Errorf("dialing %s with %q allowed: %v", c.address, c.allow, err)
		}
		if err := g.CheckURL("https://[" + c.address + "]/"); (err == nil) != c.ok {
			t.Errorf("submitting %s with %q allowed: %v", c.address, c.allow, err)
		}
	}
}

// FuzzCheckURL holds: a URL that passes is plain http(s) without credentials, its host has no
// spelling that the most lenient reader we know (inet_aton, after the folding of wide characters)
// takes for a private address, its port is a public one, and an error never repeats the URL's host.
func FuzzCheckURL(f *testing.F) {
	for _, a := range append(private, "2130706433", "0x7f.1", "0177.1", "localhost", "example.com:22", "u:p@h",
		"127.0.0.1.") {
		f.Add("http://" + a + "/")
		f.Add("https://[" + a + "]:8080/")
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if New(nil).CheckURL(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || len(raw) > MaxURL {
			t.Fatalf("%q was taken", raw)
		}
		host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
			strings.ContainsFunc(host, func(r rune) bool { return r > 126 || r <= ' ' }) {
			t.Fatalf("%q was taken with the host %q", raw, host)
		}
		if a, ok := lenient(host); ok && !New(nil).reaches(a) {
			t.Fatalf("%q was taken, and may mean %v", raw, a)
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.Atoi(p); err != nil || n > 65535 || !publicPort(uint16(n)) {
				t.Fatalf("%q was taken with the port %s", raw, p)
			}
		}
	})
}

// lenient reads an address as inet_aton does: one to four parts, decimal, octal or hexadecimal, the
// last filling the rest.
func lenient(host string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap(), true
	}
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 32) // 0x…, 0…, decimal
		if err != nil || strings.ContainsAny(part, "_ob") && !strings.HasPrefix(part, "0x") {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			sum |= n
		} else {
			sum |= n << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}
