package job

import (
	"strings"
	"unicode/utf8"
)

// MaxText is how many bytes of a free text (an error, a progress message) are kept.
const MaxText = 1024

// CleanText makes s safe for PostgreSQL, asynq and people's terminals: valid UTF-8, no NUL, at most
// limit bytes. PostgreSQL refuses NUL and broken UTF-8; an asynq error text that is no valid UTF-8
// blocks its task's retry.
func CleanText(s string, limit int) string {
	s = cut(s, limit) // first, so that cleaning a megabyte costs nothing
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	return cut(s, limit)
}

func cut(s string, limit int) string {
	const ellipsis = "…"
	if len(s) <= limit {
		return s
	}
	n := max(limit-len(ellipsis), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
