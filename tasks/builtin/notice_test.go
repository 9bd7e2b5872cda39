package builtin

import (
	"strings"
	"testing"
)

func TestANoticeIsSentThroughTheMailServerOfTheDeployment(t *testing.T) {
	t.Parallel()
	s := (&mailServer{username: "shop", password: "TOPSECRET"}).serve(t, TLSStartTLS)
	m, err := NewNoticeMailer(config(s, TLSStartTLS), discard())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), "ann@example.com", "Reset your password", "The token:\n\nwp_X\n"); err != nil {
		t.Fatal(err)
	}
	got := s.deliveries()
	if len(got) != 1 || !got[0].tls || strings.Join(got[0].to, " ") != "ann@example.com" ||
		!strings.Contains(got[0].data, "\r\nwp_X\r\n") ||
		!strings.Contains(got[0].data, "Subject: Reset your password") {
		t.Errorf("delivered %+v", got)
	}
}
