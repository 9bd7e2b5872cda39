package tasks

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/waybill/waybill/internal/job"
)

const hello = `{"to":["Ann <ann@example.com>"],"cc":["cee@example.com"],"bcc":["bob@example.com"],"subject":"Grüße","text":"Hello\n.\nWorld","html":"<p>Hello</p>","reply_to":"help@example.com"}`

func config(s *mailServer, mode string) SMTPConfig {
	return SMTPConfig{Addr: s.addr, From: "Shop <shop@example.org>", TLS: mode, CAFile: s.caFile, Username: s.username, Password: s.password}
}

// email runs one email.send.
func email(ctx context.Context, t *testing.T, cfg SMTPConfig, id job.ID, payload string) (emailResult, error) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := newMailer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := runIn(ctx, t, emailSend(m), &job.Job{ID: id, Payload: json.RawMessage(payload)})
	var res emailResult
	if err == nil {
		err = json.Unmarshal(raw, &res)
	}
	return res, err
}

func TestMailArrivesOverEachKindOfConnection(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{TLSStartTLS, TLSImplicit, TLSNone} {
		s := (&mailServer{}).serve(t, mode)
		if mode != TLSNone {
			s.username, s.password = "shop", "TOPSECRET"
		}
		id := job.NewID()
		res, err := email(t.Context(), t, config(s, mode), id, hello)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		got := s.deliveries()
		if len(got) != 1 || got[0].from != "shop@example.org" || got[0].tls != (mode != TLSNone) || got[0].user != s.username {
			t.Fatalf("%s: delivered %+v", mode, got)
		}
		if want := []string{"ann@example.com", "cee@example.com", "bob@example.com"}; !slices.Equal(got[0].to, want) {
			t.Errorf("%s: sent to %v", mode, got[0].to)
		}
		msg, err := netmail.ReadMessage(strings.NewReader(got[0].data))
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		want := "<" + id.String() + "@example.org>"
		for name, value := range map[string]string{"Message-Id": want, "From": `"Shop" <shop@example.org>`, "To": `"Ann" <ann@example.com>`,
			"Reply-To": "<help@example.com>", "Bcc": "", "User-Agent": "", "X-Mailer": ""} {
			if msg.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", mode, name, msg.Header.Get(name), value)
			}
		}
		if res.MessageID != want || res.Response == "" {
			t.Errorf("%s: the result is %+v", mode, res)
		}
	}
}

func TestARepeatedMailKeepsItsMessageID(t *testing.T) {
	t.Parallel()
	s := (&mailServer{}).serve(t, TLSStartTLS)
	id := job.NewID()
	first, err1 := email(t.Context(), t, config(s, ""), id, hello)
	second, err2 := email(t.Context(), t, config(s, ""), id, hello)
	if err := errors.Join(err1, err2); err != nil || first.MessageID != second.MessageID {
		t.Errorf("%+v, %+v, %v", first, second, err)
	}
}

func TestAnAcceptedMailIsSentWhateverBecomesOfTheConnection(t *testing.T) {
	t.Parallel()
	s := (&mailServer{hangUp: true}).serve(t, TLSStartTLS)
	if _, err := email(t.Context(), t, config(s, ""), job.NewID(), hello); err != nil {
		t.Errorf("it would be sent twice: %v", err)
	}
	if len(s.deliveries()) != 1 {
		t.Errorf("delivered %d times", len(s.deliveries()))
	}
}

func TestTheServersWordDecides(t *testing.T) {
	t.Parallel()
	no := func(code int) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 2, 1}, Message: "not today"}
	}
	for name, s := range map[string]*mailServer{
		"MAIL 451": {refuseMail: no(451)}, "MAIL 550": {refuseMail: no(550)}, "RCPT 450": {refuseRcpt: no(450)}, "RCPT 550": {refuseRcpt: no(550)},
		"DATA 452": {refuseData: no(452)}, "DATA 554": {refuseData: no(554)},
	} {
		s.serve(t, TLSStartTLS)
		_, err := email(t.Context(), t, config(s, ""), job.NewID(), hello)
		if err == nil || IsPermanent(err) != strings.Contains(name, " 5") || !strings.Contains(err.Error(), "not today") {
			t.Errorf("%s: permanent %v: %v", name, IsPermanent(err), err)
		}
		if len(s.deliveries()) != 0 {
			t.Errorf("%s: delivered all the same", name)
		}
	}
}

func TestAFailedSignInIsRetriedAndShowsNoPassword(t *testing.T) {
	t.Parallel()
	s := (&mailServer{username: "shop", password: "right"}).serve(t, TLSStartTLS)
	cfg := config(s, "")
	cfg.Password = "TOPSECRET"
	_, err := email(t.Context(), t, cfg, job.NewID(), hello)
	if err == nil || IsPermanent(err) || !strings.Contains(err.Error(), "535") || !strings.Contains(err.Error(), "[hidden]") {
		t.Errorf("got %v", err)
	}
	for _, secret := range []string{"TOPSECRET", base64.StdEncoding.EncodeToString([]byte("\x00shop\x00TOPSECRET"))} {
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("the password is shown: %v", err)
		}
	}
}

func TestNothingIsSentWithoutTheTLSThatWasAskedFor(t *testing.T) {
	t.Parallel()
	plain := (&mailServer{username: "shop", password: "TOPSECRET"}).serve(t, TLSNone)
	if _, err := email(t.Context(), t, config(plain, TLSStartTLS), job.NewID(), hello); err == nil || IsPermanent(err) {
		t.Errorf("a server without STARTTLS: %v", err)
	}
	stranger := (&mailServer{username: "shop", password: "TOPSECRET"}).serve(t, TLSStartTLS)
	cfg := config(stranger, TLSStartTLS)
	cfg.CAFile = ""
	cfg.RootCAs = x509.NewCertPool()
	if _, err := email(t.Context(), t, cfg, job.NewID(), hello); err == nil || IsPermanent(err) || !strings.Contains(err.Error(), "x509") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	if plain.heard("AUTH") || plain.heard("MAIL") || stranger.heard("AUTH") || stranger.heard("MAIL") {
		t.Error("something was said in the clear, or to a stranger")
	}
	if _, err := newMailer(SMTPConfig{Addr: "h:25", From: "a@b.c", CAFile: os.DevNull}); err == nil {
		t.Error("an empty CA file was taken")
	}
}

func TestAnSMTPServerThatIsAwayOrSilentIsRetried(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := SMTPConfig{Addr: l.Addr().String(), From: "a@b.example"}
	// It accepts and never greets: only the context ends that.
	stop := errors.New("stop")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, stop)
	defer cancel()
	start := time.Now()
	if _, err := email(ctx, t, cfg, job.NewID(), hello); !errors.Is(err, stop) || IsPermanent(err) || time.Since(start) > 5*time.Second {
		t.Errorf("silent: %v after %v", err, time.Since(start))
	}
	l.Close()
	if _, err := email(t.Context(), t, cfg, job.NewID(), hello); err == nil || IsPermanent(err) {
		t.Errorf("away: %v", err)
	}
}

func TestMailEndsWithItsContextWhileTheServerThinks(t *testing.T) {
	t.Parallel()
	s := (&mailServer{stall: make(chan struct{})}).serve(t, TLSStartTLS)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	out := make(chan error, 1)
	go func() {
		_, err := email(ctx, t, config(s, ""), job.NewID(), hello)
		out <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); !s.heard("DATA"); {
		if time.Now().After(deadline) {
			t.Fatal("the message never came")
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	cancel(stop)
	if err := <-out; !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	close(s.stall)
}

func TestMailIsCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	c, err := Shipped(everything(), discard())
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup("email.send")
	fifty := strings.Repeat(`"a@example.com",`, 49) + `"a@example.com"`
	for payload, want := range map[string]string{
		`{}`:                                     `/payload/subject is required; /payload/text this, html or both are required; /payload/to is required`,
		`{"to":[],"subject":"s","text":"t"}`:     `/payload/to must have at least 1 items`,
		`{"to":["a@example.com"],"subject":"s"}`: `/payload/text this, html or both are required`,
		`{"to":["a@example.com\r\nBcc: b@example.com"],"subject":"s","text":"t"}`:           `/payload/to/0 must be an e-mail address`,
		`{"to":["\"a\r\n b\" <a@example.com>"],"subject":"s","text":"t"}`:                   `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com, b@example.com"],"subject":"s","text":"t"}`:                  `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com","ann"],"subject":"s","text":"t"}`:                           `/payload/to/1 must be an e-mail address`,
		`{"to":["\"a b\"@example.com"],"subject":"s","text":"t"}`:                           `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com"],"subject":"s\nBcc: b@example.com","text":"t"}`:             `/payload/subject must be one line without control characters`,
		`{"to":["a@example.com"],"subject":"s","text":"t","reply_to":"x\r\ny@example.com"}`: `/payload/reply_to must be an e-mail address`,
		`{"to":[` + fifty + `],"cc":["b@example.com"],"subject":"s","text":"t"}`:            `/payload/to must be at most 50 recipients, with cc and bcc`,
		`{"to":[` + fifty + `,"b@example.com"],"subject":"s","text":"t"}`:                   `/payload/to must have at most 50 items`,
		`{"to":[` + fifty + `],"subject":"s","html":"t"}`:                                   ``,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(payload))); got != want {
			t.Errorf("%.100s\n got %s\nwant %s", payload, got, want)
		}
	}
}
