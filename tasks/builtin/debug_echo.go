package builtin

import (
	"context"
	"encoding/json"

	"github.com/waybill/waybill/tasks"
)

// debugEcho answers its payload, byte for byte.
func debugEcho() tasks.Type {
	return tasks.Definition[json.RawMessage, json.RawMessage]{
		Name:        "debug.echo",
		Description: "Completes at once with its payload, any JSON object, as the result, byte for byte.",
		Example:     json.RawMessage(`{"hello":"world"}`),
	}.Handle(func(_ context.Context, j *tasks.Job[json.RawMessage]) (json.RawMessage, error) {
		return j.Payload, nil
	})
}
