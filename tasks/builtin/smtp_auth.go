package builtin

import (
	"errors"
	"net/textproto"
	"slices"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

var errNoMechanism = errors.New(
	"the mail server offers no way to sign in that is known here (SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5, PLAIN, LOGIN)",
)

// signIn signs in with the best mechanism that the server offers and that it has not refused yet. A
// server may offer one that it has no data for: a user whose password is stored in a form that
// SCRAM cannot use, say.
type signIn struct {
	username, password string

	refused []string
	trying  string // empty: none yet
	offered []string
	auth    smtp.Auth
}

func mechanisms() []string {
	return []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"}
}

// Start implements smtp.Auth.
func (s *signIn) Start(server *smtp.ServerInfo) (string, []byte, error) {
	s.offered, s.trying = nil, ""
	for _, offered := range server.Auth {
		s.offered = append(s.offered, strings.ToUpper(offered))
	}
	if s.trying = s.next(); s.trying == "" {
		return "", nil, errNoMechanism
	}
	s.auth = s.mechanism(s.trying, server.Name)
	return s.auth.Start(server)
}

// Next implements smtp.Auth.
func (s *signIn) Next(fromServer []byte, more bool) ([]byte, error) {
	return s.auth.Next(fromServer, more)
}

func (s *signIn) next() string {
	for _, m := range mechanisms() {
		if slices.Contains(s.offered, m) && !slices.Contains(s.refused, m) {
			return m
		}
	}
	return ""
}

func (s *signIn) mechanism(name, host string) smtp.Auth {
	switch name {
	case "SCRAM-SHA-256":
		return smtp.ScramSHA256Auth(s.username, s.password)
	case "SCRAM-SHA-1":
		return smtp.ScramSHA1Auth(s.username, s.password)
	case "CRAM-MD5":
		return smtp.CRAMMD5Auth(s.username, s.password)
	case "LOGIN":
		return smtp.LoginAuth(s.username, s.password, host, false)
	}
	return smtp.PlainAuth("", s.username, s.password, host, false)
}

// another notes that the server refused the mechanism for good, and reports whether there is
// another one to try. The session is over in every case: the library quits it.
func (s *signIn) another(err error) bool {
	var reply *textproto.Error
	if s.trying == "" || errors.As(err, &reply) && reply.Code < 500 {
		return false
	}
	s.refused = append(s.refused, s.trying)
	return s.next() != ""
}
