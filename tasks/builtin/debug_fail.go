package builtin

import (
	"cmp"
	"context"
	"errors"

	"github.com/waybill/waybill/tasks"
)

type failPayload struct {
	Times     *int   `json:"times,omitempty" jsonschema:"minimum=0,maximum=1000" jsonschema_description:"How many failures before it succeeds; left out: it always fails."`
	Message   string `json:"message,omitempty" jsonschema_description:"The error's text."`
	Permanent bool   `json:"permanent,omitempty" jsonschema_description:"Fail with an error that is not retried."`
	Panic     bool   `json:"panic,omitempty" jsonschema_description:"Panic in place of returning an error."`
}

// debugFail fails as told, to see what failing looks like.
func debugFail() tasks.Type {
	times := 2
	return tasks.Definition[failPayload, map[string]int]{
		Name:        "debug.fail",
		Description: "Fails the given number of times (or always), then succeeds with the count of its failures.",
		Example:     failPayload{Times: &times, Message: "the printer is on fire"},
	}.Handle(fail)
}

func fail(_ context.Context, j *tasks.Job[failPayload]) (map[string]int, error) {
	p, failures := j.Payload, j.Failures
	if p.Times != nil && failures >= *p.Times {
		return map[string]int{"failures": failures}, nil
	}
	message := cmp.Or(p.Message, "failed as told")
	if p.Panic {
		panic(message)
	}
	if p.Permanent {
		return nil, tasks.Permanent(errors.New(message))
	}
	return nil, errors.New(message)
}
