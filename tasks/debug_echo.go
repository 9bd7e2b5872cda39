package tasks

import (
	"context"
	"encoding/json"
)

// debugEcho answers its payload, byte for byte.
func debugEcho() Definition[json.RawMessage] {
	return Definition[json.RawMessage]{
		Name:        "debug.echo",
		Description: "Completes at once with its payload, any JSON object, as the result, byte for byte.",
		Example:     json.RawMessage(`{"hello":"world"}`),
		Handle:      func(_ context.Context, payload json.RawMessage) (any, error) { return payload, nil },
	}
}
