package auth

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxEmail = 254 // bytes: RFC 5321, section 4.5.3.1.3
	maxLocal = 64  // bytes before the @
	maxName  = 100 // characters
)

// normalEmail is how an e-mail address is stored and looked up: lower case, without outer spaces.
// ok is false for a text that cannot be an address. Only ASCII is accepted: two spellings of one
// Unicode address would be two accounts that look the same.
func normalEmail(raw string) (email string, ok bool) {
	if len(raw) > maxEmail+16 { // room for outer spaces
		return "", false
	}
	email = strings.ToLower(strings.TrimSpace(raw))
	local, domain, _ := strings.Cut(email, "@")
	addr, err := mail.ParseAddress(email)
	bare := err == nil && addr.Name == "" && addr.Address == email
	return email, bare && len(email) <= maxEmail && len(local) <= maxLocal && ascii(email) && hostname(domain)
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= unicode.MaxASCII }) < 0
}

// hostname takes names such as example.com and localhost, not addresses in brackets.
func hostname(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

func checkEmail(raw string) (string, error) {
	email, ok := normalEmail(raw)
	if !ok {
		return "", job.Invalid("/email", "must be an e-mail address in ASCII, such as ann@example.com")
	}
	return email, nil
}

// checkLabel is for names that people give to themselves and their keys. Outer spaces go; what a
// terminal or a page could trip over is refused.
func checkLabel(pointer, raw string, low int) (string, error) {
	name := strings.TrimSpace(raw)
	n := utf8.RuneCountInString(name)
	switch {
	case n < low:
		return "", job.Invalid(pointer, "must not be empty")
	case n > maxName:
		return "", job.Invalid(pointer, "may have 100 characters")
	case !utf8.ValidString(name) || strings.ContainsFunc(name,
		func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return "", job.Invalid(pointer, "must be UTF-8 without control characters")
	}
	return name, nil
}
