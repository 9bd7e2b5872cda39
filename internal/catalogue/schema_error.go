package catalogue

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxMistakes = 100 // named for one payload
	maxPointer  = 512 // bytes; names in a pointer are the caller's own and can be of any length
)

// mistakes flattens the validator's tree: one entry per wrong value. The words are our own, because
// the validator's repeat the value, which may be a secret.
func mistakes(e *jsonschema.ValidationError) []job.FieldError {
	at := payloadRoot
	for _, name := range e.InstanceLocation {
		at = job.PointerTo(at, name)
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return each(at, k.Missing, "is required")
	case *kind.AdditionalProperties:
		return each(at, k.Properties, "is not a known field")
	case *kind.AnyOf, *kind.OneOf: // the causes are alternatives, each true only if that one was meant
		return []job.FieldError{{Pointer: at, Detail: "fits none of the forms it may have, or several"}}
	}
	if len(e.Causes) == 0 {
		return []job.FieldError{{Pointer: at, Detail: detail(e.ErrorKind)}}
	}
	var all []job.FieldError
	for _, cause := range e.Causes {
		all = append(all, mistakes(cause)...)
	}
	return all
}

func each(parent string, names []string, detail string) []job.FieldError {
	fields := make([]job.FieldError, len(names))
	for i, name := range names {
		fields[i] = job.FieldError{Pointer: job.PointerTo(parent, name), Detail: detail}
	}
	return fields
}

func detail(e jsonschema.ErrorKind) string {
	switch k := e.(type) {
	case *kind.Type:
		return "must be " + typeNames(k.Want)
	case *kind.Enum:
		return "must be one of " + strings.Join(texts(k.Want), ", ")
	case *kind.MinLength:
		if k.Want == 1 {
			return "must not be empty"
		}
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items", k.Want)
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.Format:
		return "must be a valid " + k.Want
	}
	return "does not fit the schema's " + strings.Join(e.KeywordPath(), " ")
}

func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return out
}

func typeNames(types []string) string {
	names := map[string]string{"string": "a string", "integer": "a whole number", "number": "a number",
		"boolean": "true or false", "array": "a list", "object": "an object"}
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = cmp.Or(names[t], t)
	}
	return strings.Join(out, " or ")
}

// tidy orders fields, keeps the first word on each pointer (the schema's, where both spoke), and
// bounds the whole.
func tidy(fields []job.FieldError) []job.FieldError {
	for i := range fields {
		fields[i].Pointer = job.CleanText(fields[i].Pointer, maxPointer)
	}
	slices.SortStableFunc(fields, func(a, b job.FieldError) int { return cmp.Compare(a.Pointer, b.Pointer) })
	fields = slices.CompactFunc(fields, func(a, b job.FieldError) bool { return a.Pointer == b.Pointer })
	return fields[:min(len(fields), maxMistakes)]
}
