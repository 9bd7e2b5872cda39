package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// shipped is the catalogue of the built-in types.
func shipped(cfg Config, log *slog.Logger) (*catalogue.Catalogue, error) {
	types, err := Types(cfg, log)
	if err != nil {
		return nil, err
	}
	return catalogue.New(types...)
}

// run handles one attempt of j by the type.
func run(t *testing.T, typ tasks.Type, j *job.Job) (json.RawMessage, error) {
	t.Helper()
	return runIn(t.Context(), t, typ, j)
}

func runIn(ctx context.Context, t *testing.T, typ tasks.Type, j *job.Job) (json.RawMessage, error) {
	t.Helper()
	c, err := catalogue.New(typ)
	if err != nil {
		t.Fatal(err)
	}
	compiled, _ := c.Lookup(typ.Spec().Name)
	return compiled.Run(ctx, j)
}

// fieldsOf is the text of a refusal's fields.
func fieldsOf(t *testing.T, err error) string {
	t.Helper()
	var e *job.Error
	if err == nil {
		return ""
	}
	if !errors.As(err, &e) || e.Code != job.CodeInvalid {
		t.Fatalf("%v is no refusal of a payload", err)
	}
	var list []string
	for _, f := range e.Fields {
		list = append(list, f.Pointer+" "+f.Detail)
	}
	return strings.Join(list, "; ")
}
