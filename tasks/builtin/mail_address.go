package builtin

import (
	"errors"
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The details of an address that cannot be used.
var (
	errNoAddress  = errors.New("must be an e-mail address")
	errLocalPart  = errors.New("must have an ASCII local part (before the @): SMTPUTF8 is not used")
	errMailDomain = errors.New(
		"must have a domain that exists in letters, digits and hyphens, or in Unicode by the rules of IDNA",
	)
	errEncodedName = errors.New(`must have a name without "=?", which would be read as encoded text`)
)

// mailAddress reads one address: ann@example.com or Ann <ann@example.com>. Groups and comments are
// refused. The domain comes back in ASCII, as SMTP without SMTPUTF8 wants it.
func mailAddress(s string) (*mail.Address, error) {
	a, err := mail.ParseAddress(s)
	// A line break could start a header of its own; what ends in ";" or ")" is a group or has a
	// comment.
	if err != nil || strings.ContainsFunc(s, isControl) || strings.ContainsFunc(a.Name, isControl) ||
		strings.ContainsAny(a.Address, "\" \t<>") {
		return nil, errNoAddress
	}
	if trimmed := strings.TrimSpace(s); trimmed != a.Address && !strings.HasSuffix(trimmed, ">") {
		return nil, errNoAddress
	}
	if strings.Contains(a.Name, encodedWord) {
		return nil, errEncodedName
	}
	at := strings.LastIndexByte(a.Address, '@')
	local, domain := a.Address[:at], a.Address[at+1:]
	if !isASCII(local) {
		return nil, errLocalPart
	}
	if domain, err = asciiDomain(domain); err != nil {
		return nil, err
	}
	a.Address = local + "@" + domain
	return a, nil
}

// asciiDomain is a domain as it stands on the wire: xn--… for labels in other scripts. Literals
// like [192.0.2.1] stay.
func asciiDomain(domain string) (string, error) {
	if strings.HasPrefix(domain, "[") && strings.HasSuffix(domain, "]") {
		return domain, nil
	}
	if !isASCII(domain) {
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", errMailDomain
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 ||
			strings.ContainsFunc(label, func(r rune) bool { return !isDomainRune(r) }) {
			return "", errMailDomain
		}
	}
	if len(domain) > 253 {
		return "", errMailDomain
	}
	return domain, nil
}

func isDomainRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
