package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// plain are the bytes that mean themselves in a string: ASCII but for quotes, backslashes and
// control characters.
var plain = func() (table [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// text walks over a string and returns it with its quotes, and whether it has escapes.
func (s *scanner) text() (raw []byte, escaped bool) {
	start := s.pos
	s.pos++
	for s.pos < len(s.data) && s.stop == nil {
		switch c := s.data[s.pos]; {
		case plain[c]:
			s.pos++
		case c == '"':
			s.pos++
			return s.data[start:s.pos:s.pos], escaped
		case c == '\\':
			escaped = true
			s.escape()
		case c < 0x20:
			s.malformed("a control character in a string")
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				s.malformed("bytes that are not UTF-8")
			}
			s.pos += size
		}
	}
	if s.stop == nil {
		s.malformed("the JSON ends within a string")
	}
	return nil, false
}

func (s *scanner) escape() {
	s.pos++
	if s.pos >= len(s.data) {
		return
	}
	if s.data[s.pos] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), s.data[s.pos]) < 0 {
			s.malformed("an escape that JSON does not know")
		}
		s.pos++
		return
	}
	s.pos++
	switch r := s.hex4(); {
	case r == 0:
		s.refuse("holds U+0000, which cannot be stored")
	case 0xdc00 <= r && r < 0xe000:
		s.refuse("holds half a surrogate pair")
	case 0xd800 <= r && r < 0xdc00:
		s.lowSurrogate()
	}
}

func (s *scanner) lowSurrogate() {
	if bytes.HasPrefix(s.data[s.pos:], []byte(`\u`)) {
		before := s.pos
		s.pos += 2
		if r := s.hex4(); 0xdc00 <= r && r < 0xe000 {
			return
		}
		s.pos = before // it is read again, as an escape of its own
	}
	s.refuse("holds half a surrogate pair")
}

// hex4 reads the four digits of a \u escape; -1 after a stop.
func (s *scanner) hex4() rune {
	if s.pos+4 <= len(s.data) {
		if n, err := strconv.ParseUint(string(s.data[s.pos:s.pos+4]), 16, 16); err == nil {
			s.pos += 4
			return rune(n)
		}
	}
	s.malformed(`\u without four hexadecimal digits`)
	return -1
}

// unquote is the value of a string that text has walked over. Escapes are rare, and left to
// encoding/json.
func unquote(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw[1 : len(raw)-1]
	}
	var v string
	_ = json.Unmarshal(raw, &v) // cannot fail: the scanner accepts nothing that encoding/json does not
	return []byte(v)
}
