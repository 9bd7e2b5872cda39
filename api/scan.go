package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxNesting   = 100   // levels of objects and arrays in a body
	maxNumber    = 1_000 // characters of a number
	maxExponent  = 1_000 // 1e-200000 is a valid number, and a program that computes it exactly never ends
	fewKeys      = 16    // up to here, looking for a key twice is fastest by looking at all of them
	maxMistakes  = 100   // field errors in one answer
	maxPathShown = 64    // bytes of a key that are shown in a pointer
)

// scanner walks once over a JSON text (RFC 8259) and refuses what two readers might understand differently: a key twice,
// invalid UTF-8, half a surrogate pair, U+0000 (PostgreSQL cannot hold it), numbers beyond a double, endless nesting.
//
// What makes the text unreadable is in stop, and ends the walk. What is readable but wrong is collected in mistakes, each
// with its JSON Pointer, and the walk goes on, so that all of them can be answered at once.
type scanner struct {
	data     []byte
	pos      int
	depth    int
	path     []step
	keys     [][]byte // of the objects that are open, outermost first
	mistakes []job.FieldError
	stop     error
}

// step is one level of the path: a key, or an index where key is nil.
type step struct {
	key   []byte
	index int
}

func (s *scanner) malformed(format string, args ...any) {
	if s.stop == nil {
		s.stop = &job.Error{Code: job.CodeMalformed, Message: fmt.Sprintf("%s, at byte %d of the body",
			fmt.Sprintf(format, args...), s.pos)}
	}
}

// refuse notes a mistake in the value at hand.
func (s *scanner) refuse(format string, args ...any) {
	if len(s.mistakes) < maxMistakes {
		s.mistakes = append(s.mistakes, job.FieldError{Pointer: s.pointer(), Detail: fmt.Sprintf(format, args...)})
	}
}

// pointer is the JSON Pointer (RFC 6901) of the value at hand.
func (s *scanner) pointer() string {
	var b []byte
	for _, p := range s.path {
		b = append(b, '/')
		if p.key == nil {
			b = strconv.AppendInt(b, int64(p.index), 10)
			continue
		}
		key := bytes.ReplaceAll([]byte(job.CleanText(string(p.key), maxPathShown)), []byte("~"), []byte("~0"))
		b = append(b, bytes.ReplaceAll(key, []byte("/"), []byte("~1"))...)
	}
	return string(b)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek is the first byte of what comes after white space; 0 at the end of the text or after a stop.
func (s *scanner) peek() byte {
	s.space()
	if s.stop != nil || s.pos >= len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// take moves past c, or stops.
func (s *scanner) take(c byte) bool {
	if got := s.peek(); got != c {
		s.unexpected(got, strconv.QuoteRune(rune(c)))
		return false
	}
	s.pos++
	return true
}

func (s *scanner) unexpected(got byte, wanted string) {
	if s.pos >= len(s.data) {
		s.malformed("the JSON ends where %s should be", wanted)
		return
	}
	s.malformed("%s where %s should be", strconv.QuoteRuneToASCII(rune(got)), wanted)
}

// skip walks over one value of any kind and returns its bytes as they stand; nil after a stop.
func (s *scanner) skip() []byte {
	c := s.peek()
	start := s.pos
	switch {
	case c == '{':
		s.members(nil)
	case c == '[':
		s.elements(func() { s.skip() })
	case c == '"':
		s.text()
	case c == '-' || '0' <= c && c <= '9':
		s.number()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	default:
		s.unexpected(c, "a value")
	}
	if s.stop != nil {
		return nil
	}
	return s.data[start:s.pos:s.pos]
}

func (s *scanner) literal(want string) {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(want)) {
		s.malformed("something that is no value")
		return
	}
	s.pos += len(want)
}

// enter goes one level deeper. It stops where that is too deep: walking is recursive, and the stack is not endless.
func (s *scanner) enter() bool {
	s.pos++
	if s.depth++; s.depth > maxNesting {
		s.stop = job.Invalid(s.pointer(), fmt.Sprintf("is nested deeper than %d levels", maxNesting))
		return false
	}
	return true
}

// elements walks over an array; each reads one element.
func (s *scanner) elements(each func()) {
	if !s.enter() {
		return
	}
	defer func() { s.depth-- }()
	if s.peek() == ']' {
		s.pos++
		return
	}
	s.path = append(s.path, step{})
	defer func() { s.path = s.path[:len(s.path)-1] }()
	for i := 0; s.stop == nil; i++ {
		s.path[len(s.path)-1].index = i
		each()
		if s.peek() != ',' {
			s.take(']')
			return
		}
		s.pos++
	}
}

// members walks over an object. Where in is nil every value is skipped; else in reads those it knows, and the others are
// mistakes.
func (s *scanner) members(in object) {
	if !s.enter() {
		return
	}
	mine := len(s.keys)
	var many map[string]struct{}
	defer func() { s.depth--; s.keys = s.keys[:mine] }()
	if s.peek() == '}' {
		s.pos++
		return
	}
	for s.stop == nil {
		key := s.key()
		if s.stop != nil || !s.take(':') {
			return
		}
		s.path = append(s.path, step{key: key})
		many = s.once(key, mine, many)
		s.member(key, in)
		s.path = s.path[:len(s.path)-1]
		if s.peek() != ',' {
			s.take('}')
			return
		}
		s.pos++
	}
}

func (s *scanner) member(key []byte, in object) {
	if in == nil {
		s.skip()
		return
	}
	before := s.pos
	if in.member(s, key) {
		return
	}
	s.pos = before
	s.refuse("is not known here")
	s.skip()
}

// once notes a key of the object whose keys begin at mine, and refuses one that was there before. Objects with many keys
// use a set, so that no body takes quadratic time.
func (s *scanner) once(key []byte, mine int, many map[string]struct{}) map[string]struct{} {
	seen := false
	switch n := len(s.keys) - mine; {
	case n < fewKeys:
		for _, k := range s.keys[mine:] {
			seen = seen || bytes.Equal(k, key)
		}
		s.keys = append(s.keys, key)
	case many == nil:
		many = make(map[string]struct{}, 2*fewKeys)
		for _, k := range s.keys[mine:] {
			many[string(k)] = struct{}{}
		}
		fallthrough
	default:
		_, seen = many[string(key)]
		many[string(key)] = struct{}{}
	}
	if seen {
		s.refuse("stands twice in its object")
	}
	return many
}

func (s *scanner) key() []byte {
	if c := s.peek(); c != '"' {
		s.unexpected(c, "a key in double quotes")
		return nil
	}
	raw, escaped := s.text()
	if s.stop != nil {
		return nil
	}
	return unquote(raw, escaped)
}

// text walks over a string and returns it with its quotes, and whether it has escapes.
func (s *scanner) text() (raw []byte, escaped bool) {
	start := s.pos
	s.pos++
	for s.pos < len(s.data) && s.stop == nil {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start:s.pos:s.pos], escaped
		case c == '\\':
			escaped = true
			s.escape()
		case c < 0x20:
			s.malformed("a control character in a string")
		case c < utf8.RuneSelf:
			s.pos++
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

// number walks over a number and returns its characters.
func (s *scanner) number() []byte {
	start := s.pos
	s.accept('-')
	if !s.accept('0') && s.digits() == 0 {
		s.malformed("a number without digits")
	}
	if s.accept('.') && s.digits() == 0 {
		s.malformed("a number that ends with its point")
	}
	exponent := s.pos
	if s.accept('e') || s.accept('E') {
		if !s.accept('-') {
			s.accept('+')
		}
		if s.digits() == 0 {
			s.malformed("a number without its exponent")
		}
	}
	n := s.data[start:s.pos]
	if s.stop == nil && !sane(n, n[exponent-start:]) {
		s.refuse("is a number that cannot be represented")
	}
	return n
}

// sane reports whether a number fits a double, and is short enough to be computed with exactly. Short numbers without an
// exponent always are.
func sane(n, exponent []byte) bool {
	if len(n) > maxNumber {
		return false
	}
	if len(exponent) > 0 {
		e, err := strconv.Atoi(string(exponent[1:]))
		if err != nil || e > maxExponent || e < -maxExponent {
			return false
		}
	} else if len(n) < 300 {
		return true
	}
	_, err := strconv.ParseFloat(string(n), 64)
	return err == nil
}

func (s *scanner) accept(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}

// unquote is the value of a string that text has walked over. Escapes are rare, and left to encoding/json.
func unquote(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw[1 : len(raw)-1]
	}
	var v string
	_ = json.Unmarshal(raw, &v) // cannot fail: the scanner accepts nothing that encoding/json does not
	return []byte(v)
}
