package builtin

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"github.com/waybill/waybill/tasks"
)

const (
	// refusedDelay is how long a mail waits at least when the server refuses the deployment: only
	// people can repair that.
	refusedDelay = 5 * time.Minute
	// unknownDelay is how long a mail waits at least if it is not known whether it was sent: each
	// repetition may be a copy.
	unknownDelay = time.Hour
)

// smtpStep is a step of a session, as error texts name it.
type smtpStep string

const (
	stepConnect smtpStep = "connect to the mail server" // with EHLO, TLS and sign-in
	stepMail    smtpStep = "name the sender"
	stepRcpt    smtpStep = "name the recipient"
	stepData    smtpStep = "begin the message"
	stepWrite   smtpStep = "hand over the message"
	stepEnd     smtpStep = "end the message" // the final dot is out: the server may have taken it
)

// smtpError is what went wrong with one mail at a step of its session.
type smtpError struct {
	step smtpStep
	err  error
}

func (e *smtpError) Error() string { return string(e.step) + ": " + e.err.Error() }
func (e *smtpError) Unwrap() error { return e.err }

// smtpFault is whose fault an error is.
type smtpFault int

const (
	passing    smtpFault = iota // the network's or the server's for now: repeat by the job's backoff
	deployment                  // the deployment's: no mail gets through until people repair it
	message                     // the mail's own: it will never be taken
	unknown                     // it is not known whether the mail was taken
)

// classify tells the faults of one mail from those of the deployment (RFC 5321, section 4.2, and
// RFC 3463).
func (e *smtpError) classify() smtpFault {
	var reply *textproto.Error
	switch {
	case !errors.As(e.err, &reply):
		return e.judgeSilence()
	case reply.Code < 500:
		return passing
	case e.step == stepConnect:
		return deployment
	}
	return judgeReply(e.step, reply.Code, reply.Msg)
}

// judgeSilence judges an error that is no reply of the server.
func (e *smtpError) judgeSilence() smtpFault {
	var (
		cert  *tls.CertificateVerificationError
		alert tls.AlertError
	)
	switch {
	case e.step == stepEnd:
		return unknown
	case errors.As(e.err, &cert),
		errors.As(e.err, &alert),
		errors.As(e.err, new(x509.UnknownAuthorityError)),
		errors.Is(e.err, errNoMechanism),
		e.step == stepConnect && strings.Contains(e.err.Error(), "STARTTLS"): // the library's own words have no type
		return deployment
	}
	return passing
}

var enhancedCode = regexp.MustCompile(`^5\.(\d{1,3})\.(\d{1,3})\b`)

// judgeReply judges a 5xx reply to one mail. The enhanced code, where there is one, says more than
// the code.
func judgeReply(step smtpStep, code int, text string) smtpFault {
	enhanced := enhancedCode.FindStringSubmatch(text)
	if enhanced == nil {
		enhanced = []string{"", "", ""}
	}
	subject, detail := enhanced[1], enhanced[2]
	switch {
	case code == 552, subject == "3" && detail == "4", subject == "2" && detail == "3":
		return message // too large
	case code == 500, code == 502, code == 503, code == 504, code == 530, code == 534, code == 535, code == 538:
		return deployment // commands, EHLO, TLS, sign-in
	case step == stepMail:
		return deployment // the sender is the deployment's
	case subject == "1" && (detail == "7" || detail == "8"):
		return deployment // so it is here
	case subject == "1", subject == "2", subject == "4":
		return message // the address, the mailbox, the way there
	case subject == "7" && step == stepEnd && (detail == "0" || detail == "1"):
		return message // what filters of content say
	case subject == "3", subject == "5", subject == "7":
		return deployment // the system, the protocol, policy: relaying and block lists among it
	case step == stepRcpt && mentionsRefusal(text):
		return deployment
	}
	return message
}

// mentionsRefusal reads replies without an enhanced code.
func mentionsRefusal(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{"relay", "helo", "authenticat", "client host"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// outcome is the error that a handler answers for e; said is its text, fit to be shown.
func (e *smtpError) outcome(said string) error {
	switch e.classify() {
	case message:
		return tasks.Permanent(errors.New(said))
	case deployment:
		return tasks.RetryAfter(
			fmt.Errorf(
				"the mail server refuses this deployment, not this mail, which is tried again until that is repaired: %s",
				said,
			),
			refusedDelay,
		)
	case unknown:
		return tasks.RetryAfter(
			fmt.Errorf("the mail server did not confirm the message in time, so it may have been sent; "+
				"it is tried again in an hour at the soonest, under the same Message-ID: %s", said),
			unknownDelay,
		)
	}
	return errors.New(said)
}

// worst picks of several refused recipients the error that decides about the mail.
func worst(errs []*smtpError) *smtpError {
	rank := map[smtpFault]int{message: 3, deployment: 2, unknown: 1, passing: 0}
	var found *smtpError
	for _, e := range errs {
		if found == nil || cmp.Less(rank[found.classify()], rank[e.classify()]) {
			found = e
		}
	}
	return found
}
