package tasks

import (
	"encoding/json"
	"reflect"
	"time"
)

// Spec is a Type without its type parameters, for a server to register.
type Spec struct {
	Name        string
	Description string
	Queue       string
	MaxRetries  int
	Timeout     time.Duration
	Backoff     Backoff
	Private     bool
	Payload     reflect.Type
	Result      reflect.Type
	Example     any
	Former      []FormerSpec
	// Check decodes a payload as a worker does, and calls Definition.Check. The error is the
	// decoder's, whose text may repeat values of the payload. Nil if every JSON object is a
	// payload.
	Check func(payload json.RawMessage) ([]FieldError, error)
	// Run handles one attempt; nil: the type can be submitted only.
	Run RawFunc
}

// FormerSpec is a Former without its type parameters.
type FormerSpec struct {
	Payload reflect.Type
	// Up decodes the older form and answers a value of today's payload type.
	Up func(payload json.RawMessage) (any, error)
}

func newFormer[Old, P any](up func(Old) P) FormerSpec {
	return FormerSpec{Payload: reflect.TypeFor[Old](), Up: func(payload json.RawMessage) (any, error) {
		var old Old
		if err := decodeStrict(payload, &old); err != nil {
			return nil, err
		}
		return up(old), nil
	}}
}

// Spec describes the type without its code.
func (d Definition[P, R]) Spec() Spec {
	s := Spec{
		Name: d.Name, Description: d.Description, Queue: d.Queue, MaxRetries: d.MaxRetries, Timeout: d.Timeout,
		Backoff: d.Backoff, Private: d.Private, Payload: reflect.TypeFor[P](), Result: reflect.TypeFor[R](),
		Example: d.Example,
	}
	for _, f := range d.Former {
		s.Former = append(s.Former, f.spec)
	}
	if d.Check != nil || s.Payload != reflect.TypeFor[json.RawMessage]() {
		s.Check = d.check
	}
	return s
}

// Spec describes the type with its code.
func (h Handler[P, R]) Spec() Spec {
	s := h.Definition.Spec()
	s.Run = h.run
	return s
}

// check calls Check also with a payload that has unknown fields, so that all mistakes are reported
// together: the schema names the unknown ones.
func (d Definition[P, R]) check(payload json.RawMessage) ([]FieldError, error) {
	p, err := d.decode(payload)
	if d.Check == nil {
		return nil, err
	}
	if err != nil {
		var loose P
		if json.Unmarshal(payload, &loose) != nil {
			return nil, err
		}
		p = loose
	}
	return d.Check(p), err
}
