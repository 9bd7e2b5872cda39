package builtin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const (
	maxHeaders     = 50
	maxHeaderBytes = 8 << 10 // names and values together
)

// Headers that tell a receiver about the job.
const (
	headerOwner   = "Waybill-Owner"
	headerAttempt = "Waybill-Attempt"
)

// ownHeaders are decided by the connection or by Waybill, never by a payload; so are all that begin
// with one of ownPrefixes.
var (
	ownHeaders = []string{
		"Connection",
		"Content-Length",
		"Expect",
		"Host",
		"Http2-Settings",
		"Keep-Alive",
		"Proxy-Authenticate",
		"Proxy-Authorization",
		"Proxy-Connection",
		"Te",
		"Trailer",
		"Transfer-Encoding",
		"Upgrade",
	}
	ownPrefixes = []string{"Webhook-", "Waybill-"}
)

func isOwnHeader(name string) bool {
	return slices.Contains(ownHeaders, name) || slices.ContainsFunc(ownPrefixes, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// checkHeaders names what is wrong with a payload's headers; no value is repeated.
func checkHeaders(headers map[string]string) []tasks.FieldError {
	if len(headers) > maxHeaders {
		return []tasks.FieldError{
			{Pointer: "/headers", Detail: fmt.Sprintf("must have at most %d headers", maxHeaders)},
		}
	}
	var fields []tasks.FieldError
	seen := make(map[string]bool, len(headers))
	size := 0
	for name, value := range headers {
		size += len(name) + len(value)
		canonical := http.CanonicalHeaderKey(name)
		if detail := headerMistake(canonical, value, seen[canonical]); detail != "" {
			fields = append(fields, tasks.FieldError{Pointer: job.PointerTo("/headers", name), Detail: detail})
		}
		seen[canonical] = true
	}
	if size > maxHeaderBytes {
		fields = append(
			fields,
			tasks.FieldError{Pointer: "/headers", Detail: "must have at most 8 KiB, names and values together"},
		)
	}
	return fields
}

func headerMistake(name, value string, again bool) string {
	switch {
	case !isToken(name):
		return "is not a valid header name"
	case isOwnHeader(name):
		return "is set by Waybill"
	case again:
		return "is given twice, in another case"
	case strings.ContainsFunc(value, isControl):
		return "must not hold control characters"
	}
	return ""
}

// isToken follows RFC 9110, section 5.6.2.
func isToken(s string) bool {
	const marks = "!#$%&'*+-.^_`|~"
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(marks, r))
	})
}

// isControl is true of everything below space but the tab, and of DEL: CR and LF would start a
// header of their own.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
