package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/internal/job"
)

// Type is a registered task type. Its fields are read only.
type Type struct {
	Name        string
	Description string
	Defaults    Defaults // filled
	Private     bool     // the payload may hold secrets
	Schema      json.RawMessage
	Example     json.RawMessage

	schema *jsonschema.Schema
	fit    *fit                                                      // nil: only schema can judge
	check  func(payload json.RawMessage, fits bool) []job.FieldError // nil: the schema says all; fits: it found nothing wrong
	handle func(ctx context.Context, payload json.RawMessage) (any, error)
}

// Check says whether payload may be submitted: nil, or a *job.Error with CodeInvalid whose Fields name every mistake, at
// most maxMistakes of them, by pointers that start with "/payload". It never repeats a value of the payload.
func (t *Type) Check(payload json.RawMessage) error {
	if json.Valid(payload) {
		return t.CheckValid(payload)
	}
	fields, readable := checkSchema(t.schema, payload)
	return t.verdict(payload, fields, readable)
}

// CheckValid is Check for a payload that is known to be valid JSON: who has walked over it need not walk again.
func (t *Type) CheckValid(payload json.RawMessage) error {
	if t.fit != nil && t.fit.holds(payload) {
		return t.verdict(payload, nil, true)
	}
	fields, readable := checkSchema(t.schema, payload)
	return t.verdict(payload, fields, readable)
}

// verdict adds what the type itself finds to what the schema does not let pass.
func (t *Type) verdict(payload json.RawMessage, fields []job.FieldError, readable bool) error {
	if readable && t.check != nil {
		fields = append(fields, t.check(payload, len(fields) == 0)...)
	}
	if len(fields) == 0 {
		return nil
	}
	return &job.Error{Code: job.CodeInvalid, Message: "the payload does not fit " + t.Name, Fields: tidy(fields)}
}

// Run does j once: it decodes the payload and calls the handler, whose error it passes on. A payload that cannot be decoded
// is an ordinary failure: it passed Check when it was submitted, so this worker and that API differ in version, and a
// retry may meet a worker that knows it. A result that is too large or is no JSON is a permanent error, since the work is done
// and would only be done again.
func (t *Type) Run(ctx context.Context, j *job.Job) (json.RawMessage, error) {
	value, err := t.handle(context.WithValue(ctx, infoKey{}, j), j.Payload)
	if err != nil {
		return nil, err
	}
	result, err := encodeResult(value)
	if err != nil {
		return nil, Permanent(fmt.Errorf("the work was done, but its result cannot be kept: %w", err))
	}
	return result, nil
}

// checker decodes a payload as the worker will, so that no value is found to be wrong only there (a number too large for its field, a date
// that does not exist), and asks the type's own Check.
func checker[P any](d Definition[P]) func(json.RawMessage, bool) []job.FieldError {
	if _, raw := any(new(P)).(*json.RawMessage); raw && d.Check == nil {
		return nil
	}
	return func(payload json.RawMessage, fits bool) []job.FieldError {
		p, err := decode[P](payload)
		switch {
		case err != nil && fits:
			return []job.FieldError{undecodable(err)}
		case d.Check == nil, err != nil && json.Unmarshal(payload, &p) != nil: // the schema has named what does not decode
			return nil
		}
		fields := d.Check(p)
		for i := range fields {
			fields[i].Pointer = payloadRoot + fields[i].Pointer
		}
		return fields
	}
}

// undecodable says where a payload that fits its schema cannot be decoded, without the value, which the decoder's own words repeat.
func undecodable(err error) job.FieldError {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		pointer := payloadRoot + "/" + strings.ReplaceAll(pointerEscaper.Replace(wrong.Field), ".", "/")
		return job.FieldError{Pointer: pointer, Detail: "is out of range, or not of the form that is wanted (" + wrong.Type.String() + ")"}
	}
	return job.FieldError{Pointer: payloadRoot, Detail: "holds a value that is not of the form that its field wants"}
}

// decode reads a payload. A json.RawMessage is taken as it is: the ledger holds nothing but valid JSON.
func decode[P any](payload json.RawMessage) (P, error) {
	var p P
	if raw, ok := any(&p).(*json.RawMessage); ok {
		*raw = payload
		return p, nil
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	dec.DisallowUnknownFields() // a field that this program does not know must not be passed over in silence
	err := dec.Decode(&p)
	return p, err
}

func handler[P any](d Definition[P]) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, payload json.RawMessage) (any, error) {
		p, err := decode[P](payload)
		if err != nil {
			return nil, errors.New("this worker cannot read the payload; it may be of another version than the API")
		}
		return d.Handle(ctx, p)
	}
}

func encodeResult(value any) (json.RawMessage, error) {
	raw, isRaw := value.(json.RawMessage)
	if value == nil || isRaw && raw == nil {
		return nil, nil
	}
	if !isRaw {
		var err error
		if raw, err = encode(value); err != nil {
			return nil, err
		}
	}
	switch {
	case len(raw) > job.MaxResult:
		return nil, fmt.Errorf("%d bytes, %d is the limit", len(raw), job.MaxResult)
	case !json.Valid(raw) || !utf8.Valid(raw): // PostgreSQL would refuse it, and the settlement with it
		return nil, errors.New("not valid JSON")
	}
	return raw, nil
}

// encode is json.Marshal without the escapes for HTML, which would alter what a handler said.
func encode(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
