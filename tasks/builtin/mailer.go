package builtin

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// mailer sends e-mails, each over a connection of its own: nothing that went wrong with one can
// touch the next.
type mailer struct {
	cfg  SMTPConfig
	host string
	port int
	from *netmail.Address // its domain in ASCII
	helo string
	tls  *tls.Config
	log  *slog.Logger
}

// newMailer needs a valid cfg; it fails where the CA file cannot be read.
func newMailer(cfg SMTPConfig, log *slog.Logger) (*mailer, error) {
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP address: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP port: %w", err)
	}
	from, err := mailAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP sender: %w", err)
	}
	roots, err := rootCAs(cfg)
	if err != nil {
		return nil, err
	}
	return &mailer{cfg: cfg, host: host, port: n, from: from, helo: cmp.Or(cfg.HELO, domainOf(from)), log: log,
		tls: &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12}}, nil
}

func domainOf(a *netmail.Address) string { return a.Address[strings.LastIndexByte(a.Address, '@')+1:] }

// send hands one message over. What the server says of the message itself is final; what it says of
// the deployment (EHLO, TLS, sign-in, relaying) and what goes wrong on the way is no reason to lose
// mail: it is tried again.
func (m *mailer) send(ctx context.Context, id tasks.ID, p emailPayload) (*emailResult, error) {
	msg, err := m.message(id, p)
	if err != nil {
		return nil, tasks.Permanent(err)
	}
	line := &wire{cfg: m.tls, implicit: m.cfg.TLS == TLSImplicit}
	defer line.bind(ctx)()
	session, failed := m.connect(ctx, line)
	if failed != nil {
		return nil, m.failure(ctx, id, failed)
	}
	defer session.Close()
	response, failed := handOver(session, m.from.Address, msg)
	if failed != nil {
		return nil, m.failure(ctx, id, failed)
	}
	_ = session.Quit() // the message is taken, whatever becomes of the session
	return &emailResult{MessageID: msg.GetMessageID(), Response: job.CleanText(response, job.MaxText)}, nil
}

// connect opens a session, signed in. A server that refuses one way to sign in is asked again by
// the next.
func (m *mailer) connect(ctx context.Context, line *wire) (*smtp.Client, *smtpError) {
	auth := &signIn{username: m.cfg.Username, password: m.cfg.Password}
	for {
		client, err := mail.NewClient(m.host, m.options(ctx, line, auth)...)
		if err != nil {
			return nil, &smtpError{stepConnect, fmt.Errorf("set up SMTP: %w", err)}
		}
		session, err := client.DialToSMTPClientWithContext(ctx)
		if err == nil {
			return session, nil
		}
		line.drop()
		if ctx.Err() != nil || !auth.another(err) {
			return nil, &smtpError{stepConnect, err}
		}
	}
}

func (m *mailer) options(ctx context.Context, line *wire, auth *signIn) []mail.Option {
	opts := []mail.Option{
		mail.WithPort(m.port),
		mail.WithTimeout(remaining(ctx)),
		mail.WithTLSConfig(m.tls),
		mail.WithHELO(m.helo),
		mail.WithoutSMTPUTF8(),
		mail.WithDialContextFunc(line.dial),
		mail.WithTLSPolicy(mail.NoTLS),
	}
	if cmp.Or(m.cfg.TLS, TLSStartTLS) == TLSStartTLS {
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if auth.username != "" {
		opts = append(opts, mail.WithSMTPAuthCustom(auth))
	}
	return opts
}

// remaining is what is left of the attempt: a step of a session may take it all, since a server
// that is given up on while it works may have taken the message.
func remaining(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return max(time.Until(end), 0) + time.Second // the end of ctx cuts the connection, and says why
	}
	return smtpTime
}

// handOver sends one message and returns the server's last reply. If any recipient is refused, it
// goes to none.
func handOver(session *smtp.Client, from string, msg *mail.Msg) (response string, failed *smtpError) {
	recipients, err := msg.GetRecipients()
	if err != nil {
		return "", &smtpError{stepRcpt, err}
	}
	if err := session.Mail("<" + from + ">"); err != nil {
		return "", &smtpError{stepMail, err}
	}
	var refused []*smtpError
	for _, to := range recipients {
		if err := session.Rcpt(to); err != nil {
			refused = append(refused, &smtpError{stepRcpt, err})
		}
	}
	if len(refused) > 0 {
		return "", worst(refused)
	}
	body, err := session.Data()
	if err != nil {
		return "", &smtpError{stepData, err}
	}
	if _, err := msg.WriteTo(body); err != nil {
		return "", &smtpError{stepWrite, err}
	}
	if err := body.Close(); err != nil {
		return "", &smtpError{stepEnd, err}
	}
	if said, ok := body.(*smtp.DataCloser); ok {
		response = said.ServerResponse()
	}
	return response, nil
}

func (m *mailer) message(id tasks.ID, p emailPayload) (*mail.Msg, error) {
	if fields := checkEmail(p); len(fields) > 0 {
		return nil, fmt.Errorf("%s: %s", fields[0].Pointer, fields[0].Detail)
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(m.from)
	msg.ToMailAddress(addresses(p.To)...)
	msg.CcMailAddress(addresses(p.CC)...)
	msg.BccMailAddress(addresses(p.BCC)...)
	if p.ReplyTo != "" {
		msg.ReplyToMailAddress(addresses([]string{p.ReplyTo})...)
	}
	msg.SetMessageIDWithValue(id.String() + "@" + domainOf(m.from))
	msg.SetDate()
	if strings.Contains(p.Subject, encodedWord) {
		msg.SetGenHeaderPreformatted(mail.HeaderSubject, encodeWords(p.Subject))
	} else {
		msg.Subject(p.Subject)
	}
	if p.Text != "" {
		msg.SetBodyString(mail.TypeTextPlain, p.Text)
	}
	if p.HTML != "" {
		msg.AddAlternativeString(mail.TypeTextHTML, p.HTML)
	}
	return msg, nil
}

// addresses reads a list that checkEmail has found right.
func addresses(list []string) []*netmail.Address {
	read := make([]*netmail.Address, 0, len(list))
	for _, s := range list {
		if a, err := mailAddress(s); err == nil {
			read = append(read, a)
		}
	}
	return read
}

// failure is the error that the job gets. The deployment's own faults, which its owner cannot repair,
// are logged as well, with the addresses that he does not see.
func (m *mailer) failure(ctx context.Context, id tasks.ID, e *smtpError) error {
	if ctx.Err() != nil {
		e = &smtpError{e.step, context.Cause(ctx)}
		if e.classify() == unknown {
			return e.outcome(e.Error())
		}
		return fmt.Errorf("%s: %w", e.step, e.err)
	}
	if e.classify() == deployment {
		m.log.WarnContext(
			ctx,
			"the mail server refuses this deployment",
			"job_id",
			id,
			"addr",
			m.cfg.Addr,
			"step",
			string(e.step),
			"err",
			job.CleanText(m.hide(e.err.Error()), job.MaxText),
		)
	}
	return e.outcome(string(e.step) + ": " + m.hide(networkError(e.err)))
}

// hide takes the password out of what the server may have repeated.
func (m *mailer) hide(text string) string {
	if m.cfg.Password == "" {
		return text
	}
	b64 := base64.StdEncoding.EncodeToString
	plain := b64([]byte("\x00" + m.cfg.Username + "\x00" + m.cfg.Password))
	const hidden = "[hidden]"
	return strings.NewReplacer(plain, hidden, b64([]byte(m.cfg.Password)), hidden, m.cfg.Password, hidden).Replace(text)
}
