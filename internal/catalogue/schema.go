package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const (
	payloadRoot = "/payload" // where the payload lies in a submission
	schemaURL   = "waybill:payload"
)

// schemaOf makes the JSON Schema (2020-12) of a payload from its Go type: the text that is
// published, and the compiled form that is checked. A json.RawMessage stands for any object.
// Unknown fields are refused.
func schemaOf(payload reflect.Type) (json.RawMessage, *jsonschema.Schema, error) {
	s, err := reflectSchema(payload)
	if err != nil {
		return nil, nil, err
	}
	if payload == reflect.TypeFor[json.RawMessage]() {
		s.Type = "object"
	}
	if s.Type != "object" {
		return nil, nil, errors.New("its payload is not a JSON object")
	}
	text, err := tasks.Encode(s)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the schema: %w", err)
	}
	compiled, err := compile(text)
	return text, compiled, err
}

// compile makes the checked form of a schema. It loads nothing from anywhere, so that a schema can
// refer to itself only, and bounds what checking a payload can cost.
func compile(text json.RawMessage) (*jsonschema.Schema, error) {
	if len(text) > maxSchema {
		return nil, fmt.Errorf("the schema has %d bytes, %d is the limit", len(text), maxSchema)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	if err := boundSchema(doc); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("add the schema: %w", err)
	}
	s, err := c.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return s, nil
}

// noLoader refuses every URL: the compiler's own loader reads files.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema may refer to itself only")
}

// checkSchema names what does not fit s; readable says whether payload is JSON at all.
func checkSchema(s *jsonschema.Schema, payload json.RawMessage) (fields []job.FieldError, readable bool) {
	if len(payload) == 0 {
		return []job.FieldError{{Pointer: payloadRoot, Detail: "is required"}}, false
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return []job.FieldError{{Pointer: payloadRoot, Detail: "must be valid JSON"}}, false
	}
	err = s.Validate(doc)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return mistakes(invalid), true
	}
	if err != nil { // the validator gave up, so the payload is not known to be right
		return []job.FieldError{{Pointer: payloadRoot, Detail: "cannot be checked against its schema"}}, false
	}
	return nil, true
}
