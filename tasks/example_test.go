package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

type invoice struct {
	Number int    `json:"number" jsonschema:"minimum=1" jsonschema_description:"The invoice to render."`
	Format string `json:"format,omitempty" jsonschema:"enum=pdf,enum=html,default=pdf" jsonschema_description:"What to render it as."`
}

func renderInvoice() tasks.Definition[invoice] {
	return tasks.Definition[invoice]{
		Name:        "invoice.render",
		Description: "Renders an invoice.",
		Example:     invoice{Number: 1042},
		Handle: func(ctx context.Context, p invoice) (any, error) {
			if p.Number > 9999 {
				return nil, tasks.Permanent(fmt.Errorf("invoice %d does not exist", p.Number))
			}
			tasks.Progress(ctx, 50, "laid out")
			return map[string]int{"pages": 2}, nil
		},
	}
}

func ExampleRegister() {
	c := tasks.NewCatalogue()
	if err := tasks.Register(c, renderInvoice()); err != nil {
		fmt.Println(err)
		return
	}
	render, _ := c.Lookup("invoice.render")

	err := render.Check(json.RawMessage(`{"nr": 1042}`))
	for _, f := range err.(*job.Error).Fields {
		fmt.Println(f.Pointer, f.Detail)
	}
	result, err := render.Run(context.Background(), &job.Job{Payload: json.RawMessage(`{"number": 1042}`)})
	fmt.Println(string(result), err)
	_, err = render.Run(context.Background(), &job.Job{Payload: json.RawMessage(`{"number": 10042}`)})
	fmt.Println(err, tasks.IsPermanent(err))
	// Output:
	// /payload/nr is not a known field
	// /payload/number is required
	// {"pages":2} <nil>
	// invoice 10042 does not exist true
}
