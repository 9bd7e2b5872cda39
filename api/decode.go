package api

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The scanner's readers, one for each kind of value. A value of another kind is a mistake and
// leaves the target as it was; so does null, which stands for "not given" and is no mistake.

const (
	notADuration = `must be a duration such as "90s" or "1h30m"`
	notAnInstant = `must be a time of RFC 3339 with its zone, such as "2026-01-31T12:00:00Z"`
)

// kind reports whether the value at hand begins with first. If not, it is walked over: null
// silently, else as a mistake.
func (s *scanner) kind(first byte, mistake string) bool {
	c := s.peek()
	if c == first {
		return true
	}
	if c == 'n' {
		s.literal("null")
		return false
	}
	if s.skip() != nil {
		s.refuse("%s", mistake)
	}
	return false
}

// str reads a string of low to high bytes.
func (s *scanner) str(to *string, low, high int) {
	if !s.kind('"', "must be a string") {
		return
	}
	raw, escaped := s.text()
	if s.stop != nil {
		return
	}
	v := unquote(raw, escaped)
	switch {
	case len(v) < low && len(v) == 0:
		s.refuse("is empty")
	case len(v) < low:
		s.refuse("must have at least %d bytes", low)
	case len(v) > high:
		s.refuse("may have %d bytes", high)
	default:
		*to = string(v)
	}
}

// choice reads one of the strings in allowed.
func (s *scanner) choice(to *string, allowed ...string) {
	if !s.kind('"', "must be a string") {
		return
	}
	raw, escaped := s.text()
	if s.stop != nil {
		return
	}
	v := string(unquote(raw, escaped))
	if !slices.Contains(allowed, v) {
		s.refuse("must be one of %q", allowed)
		return
	}
	*to = v
}

// strs reads an array of strings of low to high bytes each.
func (s *scanner) strs(to *[]string, low, high int) {
	if !s.kind('[', "must be an array of strings") {
		return
	}
	list := []string{}
	s.elements(func() {
		var v string
		s.str(&v, low, high)
		list = append(list, v)
	})
	*to = list
}

// boolean reads true or false.
func (s *scanner) boolean(to *bool) {
	switch c := s.peek(); c {
	case 't':
		s.literal("true")
		*to = true
	case 'f':
		s.literal("false")
		*to = false
	default:
		s.kind(0, "must be true or false")
	}
}

// integer reads a whole number from low to high, written without a point or an exponent.
func (s *scanner) integer(to *int, low, high int) {
	c := s.peek()
	if c != '-' && (c < '0' || c > '9') {
		s.kind('-', "must be a number")
		return
	}
	v, err := strconv.Atoi(string(s.number()))
	if s.stop != nil {
		return
	}
	if err != nil || v < low || v > high {
		s.refuse("must be a whole number from %d to %d", low, high)
		return
	}
	*to = v
}

// raw keeps a value of any kind as it stands, byte for byte, and notes null like any other.
func (s *scanner) raw(to *json.RawMessage) { *to = s.skip() }

// duration reads a Go duration, such as "90s" or "1h30m", from low to high.
func (s *scanner) duration(to *time.Duration, low, high time.Duration) {
	text, ok := s.short(notADuration)
	if !ok {
		return
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		s.refuse(notADuration)
	case d < low || d > high:
		s.refuse("must be from %s to %s", duration(low), duration(high))
	default:
		*to = d
	}
}

// instant reads a time of RFC 3339 with its zone, within the years that make sense.
func (s *scanner) instant(to *time.Time, low, high time.Time) {
	text, ok := s.short(notAnInstant)
	if !ok {
		return
	}
	switch t, err := parseInstant(text); {
	case err != nil:
		s.refuse(notAnInstant)
	case t.Before(low) || t.After(high):
		s.refuse("must lie from %s to %s", low.UTC().Format(time.RFC3339), high.UTC().Format(time.RFC3339))
	default:
		*to = t
	}
}

var instantForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseInstant reads a time of RFC 3339. The form is checked first, since package time takes
// 1-digit hours, decimal commas and zones that do not exist.
func parseInstant(text string) (time.Time, error) {
	if !instantForm.MatchString(text) {
		return time.Time{}, errors.New("no time of RFC 3339")
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}

// short reads a string that means something only if it is short.
func (s *scanner) short(mistake string) (text string, ok bool) {
	if !s.kind('"', mistake) {
		return "", false
	}
	raw, escaped := s.text()
	if s.stop != nil {
		return "", false
	}
	v := unquote(raw, escaped)
	if len(v) > 100 {
		s.refuse("%s", mistake)
		return "", false
	}
	return string(v), true
}

// nested reads an object into in.
func (s *scanner) nested(in object) {
	if s.kind('{', "must be an object") {
		s.members(in)
	}
}
