package api

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

// The functions below append JSON to a slice. They exist because payloads and results must be
// answered byte for byte, and encoding/json compacts and escapes them; being fast is a gain beside
// it.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		if c := s[i]; c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if i += size; r == utf8.RuneError && size == 1 {
				b = append(append(b, s[done:i-1]...), "\uFFFD"...)
				done = i
			}
			continue
		} else if c < 0x20 || c == 0x7f || c == '"' || c == '\\' {
			b = appendEscape(append(b, s[done:i]...), c)
			done = i + 1
		}
		i++
	}
	return append(append(b, s[done:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// appendKey appends a comma, where one is due, and the name of a member.
func appendKey(b []byte, name string) []byte {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendTextMember appends a member whose value is a string, or null where it is empty.
func appendTextMember(b []byte, name, value string) []byte {
	b = appendKey(b, name)
	if value == "" {
		return append(b, "null"...)
	}
	return appendString(b, value)
}

// appendIDMember appends a member whose value is an id.
func appendIDMember(b []byte, name string, id job.ID) []byte {
	b, _ = id.AppendText(append(appendKey(b, name), '"')) // never fails
	return append(b, '"')
}

func appendIntMember(b []byte, name string, value int) []byte {
	return strconv.AppendInt(appendKey(b, name), int64(value), 10)
}

// appendTimeMember appends a time of RFC 3339 in UTC, or null for the zero time.
func appendTimeMember(b []byte, name string, t time.Time) []byte {
	b = appendKey(b, name)
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendDurationMember appends a duration as people write it, never null.
func appendDurationMember(b []byte, name string, d time.Duration) []byte {
	return append(appendDuration(append(appendKey(b, name), '"'), d), '"')
}

// appendDuration writes d as people do: "1h", where Go says "1h0m0s". time.ParseDuration reads it.
func appendDuration(b []byte, d time.Duration) []byte {
	if d <= 0 || d%time.Second != 0 {
		return append(b, d.String()...)
	}
	hours, minutes, seconds := int64(d/time.Hour), int64(d/time.Minute%60), int64(d/time.Second%60)
	if hours > 0 {
		b = append(strconv.AppendInt(b, hours, 10), 'h')
	}
	if minutes > 0 || hours > 0 && seconds > 0 {
		b = append(strconv.AppendInt(b, minutes, 10), 'm')
	}
	if seconds > 0 {
		b = append(strconv.AppendInt(b, seconds, 10), 's')
	}
	return b
}

func duration(d time.Duration) string { return string(appendDuration(nil, d)) }
