package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"
)

// fastSchema is a schema whose payloads can be judged by their bytes, without decoding them: for a
// small payload that is the dearest part of a submission. It says yes, or that it does not know; it
// never says no. What it is not sure of (a mistake, an escape where the text matters, a number with
// an exponent) is for the validator, which also names what is wrong.
type fastSchema struct {
	Type                 string                 `json:"type"` // empty: any value
	Properties           map[string]*fastSchema `json:"properties"`
	Required             []string               `json:"required"`
	AdditionalProperties *fastSchema            `json:"additionalProperties"` // nil: anything
	Items                *fastSchema            `json:"items"`                // nil: anything
	Enum                 []string               `json:"enum"`
	MinLength            *int                   `json:"minLength"`
	MaxLength            *int                   `json:"maxLength"`
	MinItems             *int                   `json:"minItems"`
	MaxItems             *int                   `json:"maxItems"`
	Minimum              *int64                 `json:"minimum"`
	Maximum              *int64                 `json:"maximum"`
	never                bool                   // the schema "false"

	// These say nothing of what fits.
	Schema      string `json:"$schema"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Default     any    `json:"default"`
	Examples    []any  `json:"examples"`
}

var errNoFit = errors.New("the schema says more than can be judged by bytes")

// newFastSchema answers nil where a schema says anything that fit does not know.
func newFastSchema(schema json.RawMessage) *fastSchema {
	f := new(fastSchema)
	if json.Unmarshal(schema, f) != nil {
		return nil
	}
	return f
}

// UnmarshalJSON reads a schema strictly: a keyword that is not known here could refuse what fit
// lets through.
func (f *fastSchema) UnmarshalJSON(schema []byte) error {
	switch string(schema) {
	case "true":
		return nil
	case "false":
		f.never = true
		return nil
	}
	type plain fastSchema // without this method
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.DisallowUnknownFields()
	if err := dec.Decode((*plain)(f)); err != nil {
		return err
	}
	return f.known()
}

// known refuses keywords that stand beside a type for which they are not looked at.
func (f *fastSchema) known() error {
	isString, isNumber := f.Type == "string", f.Type == "integer" || f.Type == "number"
	switch {
	case f.Type != "" && !isString && !isNumber && !slices.Contains([]string{"object", "array", "boolean"}, f.Type),
		(f.Properties != nil || f.Required != nil || f.AdditionalProperties != nil) && f.Type != "object",
		(f.Items != nil || f.MinItems != nil || f.MaxItems != nil) && f.Type != "array",
		(f.Enum != nil || f.MinLength != nil || f.MaxLength != nil) && !isString,
		(f.Minimum != nil || f.Maximum != nil) && !isNumber,
		len(f.Required) > 64: // one bit each
		return errNoFit
	}
	return nil
}

// accepts reports whether payload, which must be valid JSON, surely fits.
func (f *fastSchema) accepts(payload []byte) bool {
	w := &walk{data: payload}
	return w.value(f)
}

// walk goes over valid JSON.
type walk struct {
	data []byte
	pos  int
}

// next is the first byte after white space; 0 at the end.
func (w *walk) next() byte {
	for ; w.pos < len(w.data); w.pos++ {
		switch c := w.data[w.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// value walks over one value and reports whether it surely fits; where it does not, the walk is
// over.
func (w *walk) value(f *fastSchema) bool {
	c := w.next()
	if f == nil || f.Type == "" && !f.never {
		w.skip()
		return true
	}
	switch f.Type {
	case "object":
		return c == '{' && w.object(f)
	case "array":
		return c == '[' && w.array(f)
	case "string":
		return c == '"' && w.fitsText(f)
	case "boolean":
		w.skip()
		return c == 't' || c == 'f'
	case "integer":
		return w.integer(f)
	case "number":
		if f.Minimum != nil || f.Maximum != nil {
			return w.integer(f)
		}
		w.skip()
		return c == '-' || '0' <= c && c <= '9'
	}
	return false
}

func (w *walk) object(f *fastSchema) bool {
	if f.Properties == nil && f.Required == nil && f.AdditionalProperties == nil {
		w.skip()
		return true
	}
	var seen uint64
	for w.pos++; w.next() == '"'; {
		key, escaped := w.text()
		if escaped || w.next() != ':' {
			return false
		}
		w.pos++
		member, own := f.Properties[string(key)]
		if !own {
			member = f.AdditionalProperties
		}
		if !w.value(member) {
			return false
		}
		for i, name := range f.Required {
			if name == string(key) {
				seen |= 1 << i
			}
		}
		if w.next() == ',' {
			w.pos++
		}
	}
	w.pos++
	return seen == 1<<len(f.Required)-1
}

func (w *walk) array(f *fastSchema) bool {
	n := 0
	for w.pos++; w.pos < len(w.data) && w.next() != ']'; n++ {
		if !w.value(f.Items) {
			return false
		}
		if w.next() == ',' {
			w.pos++
		}
	}
	w.pos++
	return (f.MinItems == nil || n >= *f.MinItems) && (f.MaxItems == nil || n <= *f.MaxItems)
}

func (w *walk) fitsText(f *fastSchema) bool {
	raw, escaped := w.text()
	if f.Enum != nil && (escaped || !slices.Contains(f.Enum, string(raw))) {
		return false
	}
	if f.MinLength == nil && f.MaxLength == nil {
		return true
	}
	n := utf8.RuneCount(raw)
	return !escaped && (f.MinLength == nil || n >= *f.MinLength) && (f.MaxLength == nil || n <= *f.MaxLength)
}

// integer takes whole numbers that are written as such.
func (w *walk) integer(f *fastSchema) bool {
	w.next()
	start := w.pos
	w.skip()
	n, err := strconv.ParseInt(string(w.data[start:w.pos]), 10, 64)
	return err == nil && (f.Minimum == nil || n >= *f.Minimum) && (f.Maximum == nil || n <= *f.Maximum)
}

// text walks over a string and answers what stands between its quotes, and whether it has escapes.
func (w *walk) text() (raw []byte, escaped bool) {
	w.pos++
	start := w.pos
	for ; w.pos < len(w.data); w.pos++ {
		switch w.data[w.pos] {
		case '"':
			w.pos++
			return w.data[start : w.pos-1], escaped
		case '\\':
			escaped = true
			w.pos++
		}
	}
	return nil, true
}

// skip walks over one value of any kind.
func (w *walk) skip() {
	for depth := 0; ; {
		switch w.next() {
		case 0:
			return
		case '"':
			w.text()
		case '{', '[':
			depth++
			w.pos++
			continue
		case '}', ']':
			depth--
			w.pos++
		case ',', ':':
			w.pos++
			continue
		default:
			w.scalar()
		}
		if depth <= 0 {
			return
		}
	}
}

// scalar walks over a number, true, false or null.
func (w *walk) scalar() {
	for ; w.pos < len(w.data); w.pos++ {
		switch w.data[w.pos] {
		case ',', ':', '}', ']', ' ', '\t', '\n', '\r':
			return
		}
	}
}
