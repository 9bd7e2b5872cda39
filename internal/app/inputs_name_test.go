package app_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/waybill/waybill/internal/app"
)

// TestMain starts a name server that knows only the names below, and keeps the outages that tests
// make from filling standard error.
func TestMain(m *testing.M) {
	app.SetRedisLogger(slog.New(slog.DiscardHandler))
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe() // no packets, so that messages come with their lengths, as over TCP
		go answerNames(there)
		return here, nil
	}}
	os.Exit(m.Run())
}

// addresses are the names that lead into private networks. Of several addresses, each answer names
// one after the other first.
func addresses() map[string][]string {
	return map[string][]string{
		"loopback.test": {
			"127.0.0.1",
		}, "loopback6.test": {"::1"}, "both.test": {"127.0.0.1", "::1"}, "mapped.test": {"::ffff:127.0.0.1"},
		"private.test": {"10.0.0.1"},
		"shared.test": {
			"100.64.0.1",
		}, "metadata.test": {"169.254.169.254"}, "unique.test": {"fd00::1"}, "zero.test": {"0.0.0.0"},
		"changing.test": {"192.168.0.1",
			"127.0.0.1"},
		"127-0-0-1.nip.test": {"127.0.0.1"},
	}
}

func answerNames(c net.Conn) {
	defer c.Close()
	var turn atomic.Int32
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		text := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, text); err != nil {
			return
		}
		answer, err := answerName(text, int(turn.Add(1)))
		if err != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func answerName(text []byte, turn int) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(text); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	list, ok := addresses()[strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	for i := range list {
		a := netip.MustParseAddr(list[(i+turn)%len(list)])
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(
				m.Answers,
				dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}},
			)
		}
	}
	return m.Pack()
}
