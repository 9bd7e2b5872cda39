package builtin

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const hello = `{"to":["Ann <ann@example.com>"],"cc":["cee@example.com"],"bcc":["bob@example.com"],"subject":"Grüße","text":"Hello\n.\nWorld","html":"<p>Hello</p>","reply_to":"help@example.com"}`

func config(s *mailServer, mode string) SMTPConfig {
	return SMTPConfig{
		Addr:     s.addr,
		From:     "Shop <shop@example.org>",
		TLS:      mode,
		CAFile:   s.caFile,
		Username: s.username,
		Password: s.password,
	}
}

// email runs one email.send.
func email(ctx context.Context, t *testing.T, cfg SMTPConfig, id job.ID, payload string) (emailResult, error) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := newMailer(cfg, discard())
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
		if len(got) != 1 || got[0].from != "shop@example.org" || got[0].tls != (mode != TLSNone) ||
			got[0].user != s.username {
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
		for name, value := range map[string]string{"Message-Id": want, "From": `"Shop" <shop@example.org>`,
			"To":       `"Ann" <ann@example.com>`,
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

func no(code, subject, detail int) error {
	return &smtp.SMTPError{
		Code:         code,
		EnhancedCode: smtp.EnhancedCode{code / 100, subject, detail},
		Message:      "not today",
	}
}

// verdictOf is what becomes of a job with that error.
func verdictOf(err error) string {
	wait, _ := tasks.RetryDelay(err)
	switch {
	case err == nil:
		return "done"
	case tasks.IsPermanent(err):
		return "archived"
	case wait >= unknownDelay:
		return "rarely"
	case wait >= refusedDelay:
		return "later"
	}
	return "backoff"
}

func TestTheServersWordDecides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server *mailServer
		want   string
	}{
		"MAIL 451":              {&mailServer{refuseMail: no(451, 2, 1)}, "backoff"},
		"MAIL 550, the sender":  {&mailServer{refuseMail: no(550, 1, 0)}, "later"},
		"MAIL 530, sign in":     {&mailServer{refuseMail: no(530, 7, 0)}, "later"},
		"MAIL 552, too large":   {&mailServer{refuseMail: no(552, 3, 4)}, "archived"},
		"RCPT 450":              {&mailServer{refuseRcpt: no(450, 2, 1)}, "backoff"},
		"RCPT 550, no such box": {&mailServer{refuseRcpt: no(550, 1, 1)}, "archived"},
		"RCPT 550, disabled":    {&mailServer{refuseRcpt: no(550, 2, 1)}, "archived"},
		"RCPT 504, EHLO":        {&mailServer{refuseRcpt: no(504, 5, 2)}, "later"},
		"RCPT 554, relay":       {&mailServer{refuseRcpt: no(554, 7, 1)}, "later"},
		"RCPT 553, the sender":  {&mailServer{refuseRcpt: no(553, 1, 8)}, "later"},
		"DATA 452":              {&mailServer{refuseData: no(452, 3, 1)}, "backoff"},
		"DATA 554, content":     {&mailServer{refuseData: no(554, 6, 0)}, "archived"},
		"DATA 550, spam":        {&mailServer{refuseData: no(550, 7, 1)}, "archived"},
		"DATA 550, DMARC":       {&mailServer{refuseData: no(550, 7, 26)}, "later"},
	} {
		c.server.serve(t, TLSStartTLS)
		_, err := email(t.Context(), t, config(c.server, ""), job.NewID(), hello)
		if verdictOf(err) != c.want || !strings.Contains(fmt.Sprint(err), "not today") {
			t.Errorf("%s: %s, want %s: %v", name, verdictOf(err), c.want, err)
		}
		if len(c.server.deliveries()) != 0 {
			t.Errorf("%s: delivered all the same", name)
		}
	}
}

func TestRepliesWithoutAnEnhancedCodeAreJudgedByTheirWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step smtpStep
		code int
		text string
		want smtpFault
	}{
		{stepRcpt, 550, "no such user", message},
		{stepRcpt, 550, "Relaying denied", deployment},
		{stepRcpt, 554, "Service unavailable; Client host [192.0.2.1] blocked", deployment},
		{stepRcpt, 550, "Invalid HELO name", deployment},
		{stepRcpt, 553, "sorry, that domain is not in my list of allowed recipients", message},
		{stepMail, 501, "bad address syntax", deployment},
		{stepEnd, 554, "Transaction failed", message},
	} {
		if got := judgeReply(c.step, c.code, c.text); got != c.want {
			t.Errorf("%s: %d %s is %v, want %v", c.step, c.code, c.text, got, c.want)
		}
	}
}

func TestAMailOfWhichNobodyKnowsWhetherItWasSentIsRepeatedRarely(t *testing.T) {
	t.Parallel()
	cut := (&mailServer{cutOff: true}).serve(t, TLSStartTLS)
	_, err := email(t.Context(), t, config(cut, ""), job.NewID(), hello)
	if verdictOf(err) != "rarely" || !strings.Contains(err.Error(), "may have been sent") {
		t.Errorf("the server hung up: %v", err)
	}
	slow := (&mailServer{stall: make(chan struct{})}).serve(t, TLSStartTLS)
	timeout := errors.New("timed out")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		slow.await("DATA")
		cancel(timeout)
	}()
	if _, err = email(ctx, t, config(slow, ""), job.NewID(), hello); verdictOf(err) != "rarely" ||
		!strings.Contains(err.Error(), "timed out") {
		t.Errorf("the attempt ended while the server thought: %v", err)
	}
	close(slow.stall)
}

func TestAStepOfASessionMayTakeWhatTheAttemptHas(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if got := remaining(ctx); got < 4*time.Minute || got > 6*time.Minute {
		t.Errorf("of five minutes a step may take %v", got)
	}
}

func TestTheMailerCallsItselfByTheSendersDomainOrAsItIsTold(t *testing.T) {
	t.Parallel()
	for helo, want := range map[string]string{"": "xn--bcher-kva.example", "mx1.example.net": "mx1.example.net",
		"[192.0.2.1]": "[192.0.2.1]"} {
		s := (&mailServer{}).serve(t, TLSStartTLS)
		cfg := config(s, "")
		cfg.From, cfg.HELO = "Shop <shop@Bücher.example>", helo
		if _, err := email(t.Context(), t, cfg, job.NewID(), hello); err != nil {
			t.Fatal(err)
		}
		if got := s.deliveries()[0]; got.helo != want || got.from != "shop@xn--bcher-kva.example" {
			t.Errorf("EHLO %s from %s, want %s", got.helo, got.from, want)
		}
	}
	for _, helo := range []string{"bücher.example", "a b", "a\r\nRSET", "-", "[", "a..b"} {
		if err := (SMTPConfig{Addr: "h:25", From: "a@b.example",
			HELO: helo}).Validate(); (err == nil) != (helo == "-") {
			t.Errorf("the name %q: %v", helo, err)
		}
	}
}

func TestAnotherWayToSignInIsTriedWhereOneIsRefused(t *testing.T) {
	t.Parallel()
	s := &mailServer{username: "shop", password: "TOPSECRET", refusedAuth: []string{"SCRAM-SHA-256", "CRAM-MD5"}}
	s.serve(t, TLSStartTLS)
	if _, err := email(t.Context(), t, config(s, ""), job.NewID(), hello); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "CRAM-MD5", "PLAIN"} {
		if !s.heard("AUTH " + mechanism) {
			t.Errorf("%s was not tried", mechanism)
		}
	}
	wrong := config(s, "")
	wrong.Password = "WRONG"
	if _, err := email(t.Context(), t, wrong, job.NewID(), hello); verdictOf(err) != "later" ||
		!strings.Contains(err.Error(), "535") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestDomainsInOtherScriptsGoOutInASCII(t *testing.T) {
	t.Parallel()
	for _, utf8 := range []bool{false, true} {
		s := (&mailServer{utf8: utf8}).serve(t, TLSStartTLS)
		if _, err := email(t.Context(), t, config(s, ""), job.NewID(),
			`{"to":["Änne <ann@bücher.example>"],"cc":["b@例え.jp"],"subject":"s","text":"t","reply_to":"c@bücher.example"}`); err != nil {
			t.Fatal(err)
		}
		got := s.deliveries()[0]
		if want := []string{"ann@xn--bcher-kva.example", "b@xn--r8jz45g.jp"}; !slices.Equal(got.to, want) || got.utf8 {
			t.Errorf("sent to %v, SMTPUTF8 asked for: %v", got.to, got.utf8)
		}
		head, _, _ := strings.Cut(got.data, "\r\n\r\n")
		if strings.ContainsFunc(head, func(r rune) bool { return r > 126 }) ||
			!strings.Contains(head, "Reply-To: <c@xn--bcher-kva.example>") {
			t.Errorf("the header is\n%s", head)
		}
	}
}

func TestASubjectThatLooksEncodedArrivesAsItWasGiven(t *testing.T) {
	t.Parallel()
	s := (&mailServer{}).serve(t, TLSStartTLS)
	for _, subject := range []string{"=?utf-8?q?=48=69?=", "Re: =?x and " + strings.Repeat("é", 100) + " more", "=?",
		"plain", "Grüße"} {
		payload, _ := json.Marshal(emailPayload{To: []string{"a@example.com"}, Subject: subject, Text: "t"})
		if _, err := email(t.Context(), t, config(s, ""), job.NewID(), string(payload)); err != nil {
			t.Fatal(err)
		}
		got := s.deliveries()
		msg, err := netmail.ReadMessage(strings.NewReader(got[len(got)-1].data))
		if err != nil {
			t.Fatal(err)
		}
		shown, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
		if err != nil || shown != subject {
			t.Errorf("%q is shown as %q (%v): %s", subject, shown, err, msg.Header.Get("Subject"))
		}
	}
}

func TestAFailedSignInIsRetriedAndShowsNoPassword(t *testing.T) {
	t.Parallel()
	s := (&mailServer{username: "shop", password: "right"}).serve(t, TLSStartTLS)
	cfg := config(s, "")
	cfg.Password = "TOPSECRET"
	_, err := email(t.Context(), t, cfg, job.NewID(), hello)
	if err == nil || tasks.IsPermanent(err) || !strings.Contains(err.Error(), "535") ||
		!strings.Contains(err.Error(), "[hidden]") {
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
	if _, err := email(t.Context(), t, config(plain, TLSStartTLS), job.NewID(), hello); err == nil ||
		tasks.IsPermanent(err) {
		t.Errorf("a server without STARTTLS: %v", err)
	}
	stranger := (&mailServer{username: "shop", password: "TOPSECRET"}).serve(t, TLSStartTLS)
	cfg := config(stranger, TLSStartTLS)
	cfg.CAFile = ""
	cfg.RootCAs = x509.NewCertPool()
	if _, err := email(t.Context(), t, cfg, job.NewID(), hello); err == nil || tasks.IsPermanent(err) ||
		!strings.Contains(err.Error(), "x509") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	if plain.heard("AUTH") || plain.heard("MAIL") || stranger.heard("AUTH") || stranger.heard("MAIL") {
		t.Error("something was said in the clear, or to a stranger")
	}
	if _, err := newMailer(SMTPConfig{Addr: "h:25", From: "a@b.c", CAFile: os.DevNull}, discard()); err == nil {
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
	if _, err := email(ctx, t, cfg, job.NewID(), hello); !errors.Is(err, stop) || tasks.IsPermanent(err) ||
		time.Since(start) > 5*time.Second {
		t.Errorf("silent: %v after %v", err, time.Since(start))
	}
	l.Close()
	if _, err := email(t.Context(), t, cfg, job.NewID(), hello); err == nil || tasks.IsPermanent(err) {
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
	s.await("DATA")
	cancel(stop)
	if err := <-out; err == nil || !strings.Contains(err.Error(), "stop") {
		t.Errorf("got %v", err)
	}
	close(s.stall)
}

func TestMailIsCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	c, err := shipped(everything(), discard())
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup("email.send")
	fifty := strings.Repeat(`"a@example.com",`, 49) + `"a@example.com"`
	for payload, want := range map[string]string{
		`{}`:                                     `/payload/subject is required; /payload/text this, html or both are required; /payload/to is required`,
		`{"to":[],"subject":"s","text":"t"}`:     `/payload/to must have at least 1 items`,
		`{"to":["a@example.com"],"subject":"s"}`: `/payload/text this, html or both are required`,
		`{"to":["a@example.com\r\nBcc: b@example.com"],"subject":"s","text":"t"}`: `/payload/to/0 must be an e-mail address`,
		`{"to":["\"a\r\n b\" <a@example.com>"],"subject":"s","text":"t"}`:         `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com, b@example.com"],"subject":"s","text":"t"}`:        `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com","ann"],"subject":"s","text":"t"}`:                 `/payload/to/1 must be an e-mail address`,
		`{"to":["\"a b\"@example.com"],"subject":"s","text":"t"}`:                 `/payload/to/0 must be an e-mail address`,
		`{"to":["Team: a@example.com;"],"subject":"s","text":"t"}`:                `/payload/to/0 must be an e-mail address`,
		`{"to":["Team: Ann <a@example.com>; (x)"],"subject":"s","text":"t"}`:      `/payload/to/0 must be an e-mail address`,
		`{"to":["a@example.com (Ann)"],"subject":"s","text":"t"}`:                 `/payload/to/0 must be an e-mail address`,
		`{"to":["\"=?utf-8?q?x?=\" <a@example.com>"],"subject":"s","text":"t"}`: `/payload/to/0 ` +
			errEncodedName.Error(),
		`{"to":["=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@example.com>"],"subject":"s","text":"t"}`: `/payload/to/0 ` +
			errEncodedName.Error(),
		`{"to":["=?utf-8?q?=0D=0ABcc?= <a@example.com>"],"subject":"s","text":"t"}`: `/payload/to/0 must be an e-mail address`,
		`{"to":["ännchen@example.com"],"subject":"s","text":"t"}`: `/payload/to/0 ` +
			errLocalPart.Error(),
		`{"to":["a@example.com"],"subject":"s","text":"t","reply_to":"ä@example.com"}`: `/payload/reply_to ` +
			errLocalPart.Error(),
		"{\"to\":[\"a@b\u00adücher..example\"],\"subject\":\"s\",\"text\":\"t\"}": `/payload/to/0 must be an e-mail address`,
		`{"to":["a@⒈com.example"],"subject":"s","text":"t"}`: `/payload/to/0 ` +
			errMailDomain.Error(),
		`{"to":["=?utf-8?q?=C3=84nne?= <a@bücher.example>"],"subject":"s","text":"t"}`:      ``,
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
