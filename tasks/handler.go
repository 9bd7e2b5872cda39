package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrUnreadable says that a worker cannot read a payload: worker and submitter are of different
// versions. The job is tried again, since another worker may read it.
var ErrUnreadable = errors.New("this worker cannot read the payload; it may be of another version")

// RawFunc runs one attempt with payload and result as JSON. A nil result is none.
type RawFunc func(ctx context.Context, info Info, payload json.RawMessage) (json.RawMessage, error)

// Middleware wraps the handling of every job of a server or of one type: for logging, metrics,
// tracing, or values in the context. It may look at the error but should pass it on, since
// Permanent, Snooze and RetryAfter are found in its chain.
type Middleware func(next RawFunc) RawFunc

// Chain wraps run in middlewares; the first is the outermost.
func Chain(run RawFunc, mw ...Middleware) RawFunc {
	for i := len(mw) - 1; i >= 0; i-- {
		run = mw[i](run)
	}
	return run
}

// Type is a task type of any payload: a Definition, which can be submitted, or a Handler, which can
// be run too.
type Type interface{ Spec() Spec }

// Handler is a Definition with the code that does the work.
type Handler[P, R any] struct {
	Definition[P, R]
	run RawFunc
}

// Handle adds the code of a task type. fn must return soon after ctx ends: it ends with the job's
// timeout and deadline, when the job is canceled, and when the worker stops (context.Cause says
// which). An error is a failure, and the job is tried again by its policy; Permanent, Snooze and
// RetryAfter say otherwise. The error's text is shown to the job's owner, so it must hold no
// secret. A panic is a failure too.
//
// The result is kept as JSON, at most 256 KiB. json.RawMessage is kept byte for byte.
func (d Definition[P, R]) Handle(fn func(context.Context, *Job[P]) (R, error), mw ...Middleware) Handler[P, R] {
	h := Handler[P, R]{Definition: d}
	if fn == nil {
		return h
	}
	h.run = Chain(func(ctx context.Context, info Info, payload json.RawMessage) (json.RawMessage, error) {
		p, err := d.decode(payload)
		if err != nil {
			return nil, ErrUnreadable // the decoder's text may repeat values of the payload
		}
		result, err := fn(ctx, &Job[P]{Info: info, Payload: p})
		if err != nil {
			return nil, err
		}
		return encodeResult(result)
	}, mw...)
	return h
}

// decode reads a payload as a P, or as a Former that turns it into a P. The error is that of P.
func (d Definition[P, R]) decode(payload json.RawMessage) (P, error) {
	var p P
	if raw, ok := any(&p).(*json.RawMessage); ok {
		*raw = payload
		return p, nil
	}
	err := decodeStrict(payload, &p)
	if err == nil {
		return p, nil
	}
	for _, f := range d.Former {
		if v, err := f.spec.Up(payload); err == nil {
			return v.(P), nil
		}
	}
	var zero P
	return zero, err
}

// decodeStrict refuses fields that v does not have, so that a worker never passes over in silence
// what a newer submitter asked for.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func encodeResult(value any) (json.RawMessage, error) {
	switch v := value.(type) {
	case nil, None:
		return nil, nil
	case json.RawMessage:
		return v, nil
	}
	raw, err := Encode(value)
	if err != nil {
		return nil, Permanent(fmt.Errorf("the work was done, but its result cannot be kept: %w", err))
	}
	return raw, nil
}

// Encode is json.Marshal without the escapes for HTML: <, > and & stay as they are. Payloads and
// results are encoded with it.
func Encode(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
