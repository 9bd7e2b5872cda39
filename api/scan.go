package api

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxNesting = 100 // levels of objects and arrays in a body
	fewKeys    = 16  // up to here, looking for a key twice is fastest by looking at all of them
)

// scanner walks once over a JSON text (RFC 8259) and refuses what two readers might understand
// differently: a key twice, invalid UTF-8, half a surrogate pair, U+0000 (PostgreSQL cannot hold
// it), numbers beyond a double, endless nesting.
//
// What makes the text unreadable is in stop, and ends the walk. What is readable but wrong is
// collected in mistakes, each with its JSON Pointer, and the walk goes on, so that all of them can
// be answered at once.
type scanner struct {
	data     []byte
	pos      int
	depth    int
	path     []step
	keys     [][]byte // of the objects that are open, outermost first
	mistakes []job.FieldError
	stop     error
	limit    limit
}

// limit is where the walk over one value ends, however long the value is. The zero limit is none.
type limit struct {
	end    int    // a position in the text
	depth  int    // of the value in the path
	detail string // of the mistake
}

// within walks over the value at hand with read, but over no more than most bytes of it: where it
// is longer, walking on would be work for something that is refused anyway. A limit that ends
// earlier holds on.
func (s *scanner) within(most int, detail string, read func()) {
	s.space()
	outer := s.limit
	if end := s.pos + most; outer.end == 0 || end < outer.end {
		s.limit = limit{end: end, depth: len(s.path), detail: detail}
	}
	read()
	s.overrun()
	s.limit = outer
}

// overrun stops where the walk has passed its limit.
func (s *scanner) overrun() {
	if s.limit.end > 0 && s.pos > s.limit.end && s.stop == nil {
		s.stop = invalid(
			append(s.mistakes, job.FieldError{Pointer: pointer(s.path[:s.limit.depth]), Detail: s.limit.detail}),
		)
	}
}

// scanners are kept, so that a walk need not make room for its path and keys each time.
var scanners = sync.Pool{
	New: func() any { return &scanner{path: make([]step, 0, 8), keys: make([][]byte, 0, 2*fewKeys)} },
}

// scan makes a scanner of data; free gives it back.
func scan(data []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.data = data
	return s
}

func (s *scanner) free() {
	clear(s.path[:cap(s.path)]) // they are parts of the body, which must not outlive its request
	clear(s.keys[:cap(s.keys)])
	*s = scanner{path: s.path[:0], keys: s.keys[:0]}
	if cap(s.keys) <= 8*fewKeys {
		scanners.Put(s)
	}
}

// step is one level of the path: a key, or an index where key is nil.
type step struct {
	key   []byte
	index int
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

// expect moves past c, or stops.
func (s *scanner) expect(c byte) bool {
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

// enter goes one level deeper. It stops where that is too deep: walking is recursive, and the stack
// is not endless.
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
			s.expect(']')
			return
		}
		s.pos++
		s.overrun()
	}
}

// members walks over an object. Where in is nil every value is skipped; else in reads those it
// knows, and the others are mistakes.
func (s *scanner) members(in object) {
	if !s.enter() {
		return
	}
	mine := len(s.keys)
	var many keySet
	defer func() { s.depth--; s.keys = s.keys[:mine] }()
	if s.peek() == '}' {
		s.pos++
		return
	}
	for s.stop == nil {
		key := s.key()
		if s.stop != nil || !s.expect(':') {
			return
		}
		s.path = append(s.path, step{key: key})
		s.checkDuplicate(key, mine, &many)
		s.member(key, in)
		s.path = s.path[:len(s.path)-1]
		if s.peek() != ',' {
			s.expect('}')
			return
		}
		s.pos++
		s.overrun()
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

// checkDuplicate notes a key of the object whose keys begin at mine, and refuses one that was there
// before. Objects with many keys use a set, so that no body takes quadratic time.
func (s *scanner) checkDuplicate(key []byte, mine int, many *keySet) {
	seen := false
	if n := len(s.keys) - mine; n < fewKeys {
		seen = slices.ContainsFunc(s.keys[mine:], func(k []byte) bool { return bytes.Equal(k, key) })
	} else {
		seen = many.has(s.keys[mine:], key)
	}
	s.keys = append(s.keys, key)
	if seen {
		s.refuse("stands twice in its object")
	}
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
