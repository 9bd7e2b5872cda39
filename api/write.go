package api

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// The functions below append JSON to a slice. They exist because payloads and results must be answered byte for byte, and
// encoding/json compacts and escapes them; being fast is a gain beside it.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
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

// duration writes d as people do: "1h", where Go says "1h0m0s". time.ParseDuration reads it.
func duration(d time.Duration) string {
	s := d.String()
	if len(s) > 2 && s[len(s)-3:] == "m0s" {
		s = s[:len(s)-2]
	}
	if len(s) > 2 && s[len(s)-3:] == "h0m" {
		s = s[:len(s)-2]
	}
	return s
}
