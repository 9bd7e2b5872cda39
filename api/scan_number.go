package api

import "strconv"

const (
	maxNumber   = 1_000 // characters of a number
	maxExponent = 1_000 // 1e-200000 is a valid number, and a program that computes it exactly never ends
)

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

// sane reports whether a number fits a double, and is short enough to be computed with exactly.
// Short numbers without an exponent always are.
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
