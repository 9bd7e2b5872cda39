package builtin

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// How an SMTP connection is encrypted.
const (
	TLSStartTLS = "starttls" // required: the session ends where the server does not offer it
	TLSImplicit = "implicit" // from the first byte, usually on port 465
	TLSNone     = "none"     // not at all; no password is sent then
)

const (
	smtpDialTime = 30 * time.Second // for a connection and, where it is encrypted from the first byte, its handshake
	smtpTime     = 10 * time.Minute // for a session where the attempt has no end of its own (RFC 5321, section 4.5.3.2)
)

// SMTPConfig is the server that email.send hands its mail to. Without Addr the task type does not
// exist.
type SMTPConfig struct {
	Addr     string // host:port
	Username string // empty: no authentication
	Password string
	From     string // "Shop <shop@example.com>"
	// What the mailer calls itself in EHLO: a host name, or an address like [192.0.2.1]; empty: the
	// sender's domain.
	HELO    string
	TLS     string         // one of the above; empty: TLSStartTLS
	RootCAs *x509.CertPool // who may sign the server's certificate; nil: CAFile, or the system's
	CAFile  string         // PEM
}

func (c SMTPConfig) enabled() bool { return c.Addr != "" }

// Validate names every mistake, never repeating the password.
func (c SMTPConfig) Validate() error {
	if !c.enabled() {
		return nil
	}
	var errs []error
	host, port, err := net.SplitHostPort(c.Addr)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		errs = append(errs, errors.New("the SMTP address must be host:port"))
	}
	if _, err := mailAddress(c.From); err != nil {
		errs = append(errs, fmt.Errorf("the SMTP sender %w", err))
	}
	if ascii, err := asciiDomain(c.HELO); c.HELO != "" && (err != nil || ascii != c.HELO) {
		errs = append(
			errs,
			errors.New("the SMTP host name for EHLO must be one in ASCII, or an address like [192.0.2.1]"),
		)
	}
	switch c.TLS {
	case "", TLSStartTLS, TLSImplicit:
	case TLSNone:
		if c.Username != "" {
			errs = append(
				errs,
				errors.New("SMTP authentication needs TLS, the password would go over the wire in the clear"),
			)
		}
	default:
		errs = append(errs, errors.New("the TLS of SMTP must be starttls, implicit or none"))
	}
	if (c.Username == "") != (c.Password == "") {
		errs = append(errs, errors.New("SMTP authentication needs a user name and a password"))
	}
	return errors.Join(errs...)
}

func rootCAs(cfg SMTPConfig) (*x509.CertPool, error) {
	if cfg.RootCAs != nil || cfg.CAFile == "" {
		return cfg.RootCAs, nil
	}
	pem, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file of SMTP: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file of SMTP holds no certificate")
	}
	return pool, nil
}
