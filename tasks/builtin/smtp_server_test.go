package builtin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// mailServer is an SMTP server that keeps what it accepts and refuses what it is told to.
type mailServer struct {
	addr   string
	caFile string

	username, password                 string // asked for where username is set
	refuseMail, refuseRcpt, refuseData error
	stall                              chan struct{} // DATA is answered when it closes; nil: at once
	hangUp                             bool          // right after a message was accepted
	cutOff                             bool          // in place of an answer to a message
	refusedAuth                        []string      // mechanisms that are offered, and always refused
	utf8                               bool          // SMTPUTF8 is offered

	mu   sync.Mutex
	got  []delivery
	said []string // commands that reached the backend
}

type delivery struct {
	from string
	to   []string
	data string
	tls  bool
	user string
	helo string
	utf8 bool // asked for
}

func (s *mailServer) deliveries() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *mailServer) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, what)
}

func (s *mailServer) heard(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.said, what)
}

// await returns when what was heard, or after a minute.
func (s *mailServer) await(what string) {
	for deadline := time.Now().Add(time.Minute); !s.heard(what) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // between two looks
	}
}

// serve starts s; mode is one of the TLS constants.
func (s *mailServer) serve(t *testing.T, mode string) *mailServer {
	t.Helper()
	cert, caFile := selfSigned(t)
	s.caFile = caFile
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secured := c.TLSConnectionState()
		return &mailSession{server: s, conn: c, delivery: delivery{tls: secured}}, nil
	}))
	server.Domain = "mail.test"
	server.EnableSMTPUTF8 = s.utf8
	server.AllowInsecureAuth = true
	server.ErrorLog = quiet{}
	if mode == TLSStartTLS {
		server.TLSConfig = secure
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if mode == TLSImplicit {
		l = tls.NewListener(l, secure)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
	delivery
}

func (s *mailSession) AuthMechanisms() []string {
	if s.server.username == "" {
		return nil
	}
	return append(s.server.refusedAuth, sasl.Plain)
}

func (s *mailSession) Auth(mechanism string) (sasl.Server, error) {
	s.server.note("AUTH " + mechanism)
	if slices.Contains(s.server.refusedAuth, mechanism) {
		return nil, &smtp.SMTPError{
			Code:         535,
			EnhancedCode: smtp.EnhancedCode{5, 7, 8},
			Message:      "no data for " + mechanism,
		}
	}
	return sasl.NewPlainServer(func(_, username, password string) error {
		s.server.note("AUTH")
		if username != s.server.username || password != s.server.password {
			return &smtp.SMTPError{
				Code:         535,
				EnhancedCode: smtp.EnhancedCode{5, 7, 8},
				Message:      "no such user with the password " + password,
			}
		}
		s.user = username
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, opts *smtp.MailOptions) error {
	s.server.note("MAIL")
	s.helo, s.utf8 = s.conn.Hostname(), opts.UTF8
	if s.server.username != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return s.server.refuseMail
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.server.refuseRcpt != nil {
		return s.server.refuseRcpt
	}
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.server.note("DATA")
	if s.server.stall != nil {
		<-s.server.stall
	}
	if s.server.cutOff {
		s.conn.Conn().Close()
		return errors.New("cut off")
	}
	if s.server.refuseData != nil {
		return s.server.refuseData
	}
	s.data = string(data)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.got = append(s.server.got, s.delivery)
	return nil
}

func (s *mailSession) Reset() {
	if s.server.hangUp && s.data != "" {
		s.conn.Conn().Close() // conn.Close would wait for the lock that is held here
	}
}

func (s *mailSession) Logout() error { return nil }

// selfSigned makes a self-signed certificate for 127.0.0.1, and a file that holds it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
