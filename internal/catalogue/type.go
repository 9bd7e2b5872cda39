package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// Type is a compiled task type. Its fields are read only.
type Type struct {
	Name        string
	Description string
	Defaults    Defaults
	Private     bool // the payload may hold secrets
	Schema      json.RawMessage
	Example     json.RawMessage

	spec   tasks.Spec
	run    tasks.RawFunc // with middlewares; nil: the type can be submitted only
	schema *jsonschema.Schema
	fast   *fastSchema // nil: only schema can judge
	former []*jsonschema.Schema
}

func compileType(spec tasks.Spec) (*Type, error) {
	if err := checkName(spec.Name); err != nil {
		return nil, err
	}
	t := &Type{
		Name:        spec.Name,
		Description: spec.Description,
		Defaults:    defaultsOf(spec),
		Private:     spec.Private,
		spec:        spec,
	}
	if err := t.Defaults.check(); err != nil {
		return nil, err
	}
	var err error
	if t.Schema, t.schema, err = schemaOf(spec.Payload); err != nil {
		return nil, err
	}
	t.fast = newFastSchema(t.Schema)
	for _, f := range spec.Former {
		_, schema, err := schemaOf(f.Payload)
		if err != nil {
			return nil, fmt.Errorf("former payload %s: %w", f.Payload, err)
		}
		t.former = append(t.former, schema)
	}
	if t.Example, err = tasks.Encode(spec.Example); err != nil {
		return nil, fmt.Errorf("encode the example: %w", err)
	}
	return t, nil
}

// Runs reports whether the type has code: a Handler does, a Definition alone does not.
func (t *Type) Runs() bool { return t.run != nil }

// completedBy reports whether spec adds the code to the definition that t was made of.
func (t *Type) completedBy(spec tasks.Spec) bool {
	return t.spec.Run == nil && spec.Run != nil && t.spec.Payload == spec.Payload
}

func (t *Type) use(mw []tasks.Middleware) {
	if t.spec.Run != nil {
		t.run = tasks.Chain(t.spec.Run, mw...)
	}
}

// Payload is the Go type of the payload.
func (t *Type) Payload() reflect.Type { return t.spec.Payload }

// Check says whether payload may be submitted: nil, or a *job.Error with CodeInvalid whose Fields
// name every mistake, at most maxReported of them, by pointers that start with "/payload". It never
// repeats a value of the payload.
func (t *Type) Check(payload json.RawMessage) error {
	if json.Valid(payload) {
		return t.CheckValid(payload)
	}
	fields, _ := checkSchema(t.schema, payload)
	return t.invalid(fields)
}

// CheckValid is Check for a payload that is known to be valid JSON.
func (t *Type) CheckValid(payload json.RawMessage) error {
	if t.fast != nil && t.fast.accepts(payload) {
		return t.invalid(t.custom(payload, true))
	}
	fields, readable := checkSchema(t.schema, payload)
	if readable && len(fields) > 0 && t.fitsFormer(payload) {
		fields = nil
	}
	if readable {
		fields = append(fields, t.custom(payload, len(fields) == 0)...)
	}
	return t.invalid(fields)
}

func (t *Type) fitsFormer(payload json.RawMessage) bool {
	for _, schema := range t.former {
		if fields, readable := checkSchema(schema, payload); readable && len(fields) == 0 {
			return true
		}
	}
	return false
}

// custom is what the type's own Check finds. A payload that fits the schema is decoded as the
// worker will do it, so that no value is found to be wrong only there: a number that is too large
// for its field, a date that does not exist.
func (t *Type) custom(payload json.RawMessage, fits bool) []job.FieldError {
	if t.spec.Check == nil {
		return nil
	}
	found, err := t.spec.Check(payload)
	if err != nil && fits {
		return []job.FieldError{undecodable(err)}
	}
	var fields []job.FieldError
	for _, f := range found {
		fields = append(fields, job.FieldError{Pointer: payloadRoot + f.Pointer, Detail: f.Detail})
	}
	return fields
}

// undecodable says where a payload that fits its schema cannot be decoded, without the value, which
// the decoder's text repeats.
func undecodable(err error) job.FieldError {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return job.FieldError{
			Pointer: strings.ReplaceAll(job.PointerTo(payloadRoot, wrong.Field), ".", "/"),
			Detail:  "is out of range, or not of the form that is wanted (" + wrong.Type.String() + ")",
		}
	}
	return job.FieldError{Pointer: payloadRoot, Detail: "holds a value that is not of the form that its field wants"}
}

func (t *Type) invalid(fields []job.FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return &job.Error{Code: job.CodeInvalid, Message: "the payload does not fit " + t.Name, Fields: tidy(fields)}
}

// Run handles one attempt of j; the caller puts a tasks.Runtime into ctx. A result that is too
// large or is no JSON is a permanent error, since the work is done and would only be done again.
func (t *Type) Run(ctx context.Context, j *job.Job) (json.RawMessage, error) {
	if t.run == nil {
		return nil, fmt.Errorf("task type %q has no handler here", t.Name)
	}
	result, err := t.run(ctx, infoOf(j), j.Payload)
	if err != nil {
		return nil, err
	}
	if err := checkResult(result); err != nil {
		return nil, tasks.Permanent(fmt.Errorf("the work was done, but its result cannot be kept: %w", err))
	}
	return result, nil
}

func infoOf(j *job.Job) tasks.Info {
	return tasks.Info{
		ID:            tasks.ID(j.ID),
		OwnerID:       tasks.ID(j.OwnerID),
		Type:          j.Type,
		Queue:         j.Queue,
		Attempt:       j.Attempt,
		Failures:      j.Failures,
		Interruptions: j.Interruptions,
		MaxRetries:    j.MaxRetries,
		Labels:        j.Labels,
		CreatedAt:     j.CreatedAt,
		Deadline:      j.Deadline,
		Traceparent:   j.Traceparent,
	}
}

// checkResult refuses what PostgreSQL would refuse together with the settlement.
func checkResult(raw json.RawMessage) error {
	switch {
	case raw == nil:
		return nil
	case len(raw) > job.MaxResult:
		return fmt.Errorf("%d bytes, %d is the limit", len(raw), job.MaxResult)
	case !json.Valid(raw) || !utf8.Valid(raw):
		return errors.New("not valid JSON")
	}
	return nil
}
