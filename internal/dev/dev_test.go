package dev

import (
	"net"
	"strings"
	"testing"
)

func TestAListenerOnEveryAddressIsShownAsOneThatCanBePasted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ip   string
		want string
	}{{"0.0.0.0", "127.0.0.1:8080"}, {"::", "127.0.0.1:8080"}, {"127.0.0.1", "127.0.0.1:8080"}, {"::1", "[::1]:8080"},
		{"192.0.2.7", "192.0.2.7:8080"}} {
		if got := fromHere(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 8080}); got != c.want {
			t.Errorf("%s: %s, want %s", c.ip, got, c.want)
		}
	}
}

func TestTheGreetingNamesTheProgramThatRuns(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		"waybill":  `"waybill jobs list" (go run ./cmd/waybill jobs list)`,
		"invoices": `"invoices jobs list"`,
	} {
		var out strings.Builder
		greet(&out, "http://127.0.0.1:8080", new(credentials), Options{Program: program}, "given")
		if !strings.Contains(out.String(), "In this folder, "+want+" finds") {
			t.Errorf("%s: %s", program, &out)
		}
	}
}
