package tasks

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/waybill/waybill/internal/job"
)

// mailer sends e-mails, each over a connection of its own: nothing that went wrong with one can touch the next.
type mailer struct {
	cfg  SMTPConfig
	host string
	port int
	from *netmail.Address
	tls  *tls.Config
}

// newMailer needs a valid cfg; it fails where the CA file cannot be read.
func newMailer(cfg SMTPConfig) (*mailer, error) {
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP address: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP port: %w", err)
	}
	from, err := netmail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("read the SMTP sender: %w", err)
	}
	roots, err := rootCAs(cfg)
	if err != nil {
		return nil, err
	}
	return &mailer{cfg: cfg, host: host, port: n, from: from,
		tls: &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12}}, nil
}

// send hands one message over. What the server says of the message itself decides: 5xx is permanent, 4xx is retried. All that
// goes wrong before (connection, TLS, authentication) is the deployment's to mend, and no reason to lose mail: it is retried.
func (m *mailer) send(ctx context.Context, id job.ID, p emailPayload) (any, error) {
	msg, err := m.message(id, p)
	if err != nil {
		return nil, Permanent(err)
	}
	line := &wire{cfg: m.tls, implicit: m.cfg.TLS == TLSImplicit}
	client, err := mail.NewClient(m.host, m.options(line)...)
	if err != nil {
		return nil, fmt.Errorf("set up SMTP: %w", err)
	}
	defer line.bind(ctx)()
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return nil, m.failure(ctx, "connect to the SMTP server", err)
	}
	defer session.Close()
	// A message that was accepted is sent, even where the session breaks right behind it.
	if err := client.SendWithSMTPClient(session, msg); err != nil && !msg.IsDelivered() {
		return nil, m.failure(ctx, "hand over the message", err)
	}
	_ = session.Quit() // a courtesy to the server
	return emailResult{MessageID: msg.GetMessageID(), Response: job.CleanText(msg.ServerResponse(), job.MaxText)}, nil
}

func (m *mailer) options(line *wire) []mail.Option {
	opts := []mail.Option{mail.WithPort(m.port), mail.WithTimeout(smtpTime), mail.WithTLSConfig(m.tls),
		mail.WithDialContextFunc(line.dial), mail.WithTLSPolicy(mail.NoTLS)}
	if cmp.Or(m.cfg.TLS, TLSStartTLS) == TLSStartTLS {
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.cfg.Username != "" {
		opts = append(opts, mail.WithUsername(m.cfg.Username), mail.WithPassword(m.cfg.Password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin))
	}
	return opts
}

func (m *mailer) message(id job.ID, p emailPayload) (*mail.Msg, error) {
	if fields := checkEmail(p); len(fields) > 0 {
		return nil, fmt.Errorf("%s: %s", fields[0].Pointer, fields[0].Detail)
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(m.from)
	errs := []error{msg.To(p.To...), msg.Cc(p.CC...), msg.Bcc(p.BCC...)}
	if p.ReplyTo != "" {
		errs = append(errs, msg.ReplyTo(p.ReplyTo))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("address the message: %w", err)
	}
	_, domain, _ := strings.Cut(m.from.Address, "@")
	msg.SetMessageIDWithValue(id.String() + "@" + domain)
	msg.SetDate()
	msg.Subject(p.Subject)
	if p.Text != "" {
		msg.SetBodyString(mail.TypeTextPlain, p.Text)
	}
	if p.HTML != "" {
		msg.AddAlternativeString(mail.TypeTextHTML, p.HTML)
	}
	return msg, nil
}

// failure wraps what went wrong, without the password should the server have repeated it.
func (m *mailer) failure(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	said := errors.New(what + ": " + job.CleanText(m.hide(err.Error()), job.MaxText))
	var refused *mail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 {
		return Permanent(said)
	}
	return said
}

func (m *mailer) hide(text string) string {
	if m.cfg.Password == "" {
		return text
	}
	b64 := base64.StdEncoding.EncodeToString
	plain := b64([]byte("\x00" + m.cfg.Username + "\x00" + m.cfg.Password))
	const hidden = "[hidden]"
	return strings.NewReplacer(plain, hidden, b64([]byte(m.cfg.Password)), hidden, m.cfg.Password, hidden).Replace(text)
}
