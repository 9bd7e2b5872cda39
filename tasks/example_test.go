package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/tasks"
)

type invoice struct {
	Number int    `json:"number" jsonschema:"minimum=1" jsonschema_description:"The invoice to render."`
	Format string `json:"format,omitempty" jsonschema:"enum=pdf,enum=html,default=pdf"`
}

type document struct {
	Pages int `json:"pages"`
}

// The contract is all that a program needs to submit invoices.
var renderInvoice = tasks.Definition[invoice, document]{
	Name:        "invoice.render",
	Description: "Renders an invoice.",
	Timeout:     time.Minute,
	Example:     invoice{Number: 1042},
}

func render(ctx context.Context, j *tasks.Job[invoice]) (document, error) {
	if j.Payload.Number > 9999 {
		return document{}, tasks.Permanent(fmt.Errorf("invoice %d does not exist", j.Payload.Number))
	}
	tasks.Progress(ctx, 50, "laid out")
	return document{Pages: 2}, nil
}

func ExampleDefinition_Handle() {
	handler := renderInvoice.Handle(render) // what a worker is built of: server.Main(handler)

	run := handler.Spec().Run // what the worker does with a job
	result, err := run(context.Background(), tasks.Info{Attempt: 1}, json.RawMessage(`{"number":1042}`))
	fmt.Println(string(result), err)
	_, err = run(context.Background(), tasks.Info{Attempt: 1}, json.RawMessage(`{"number":10042}`))
	fmt.Println(err, tasks.IsPermanent(err))
	// Output:
	// {"pages":2} <nil>
	// invoice 10042 does not exist true
}

func ExampleFrom() {
	type invoiceV1 struct {
		Nr string `json:"nr"`
	}
	d := renderInvoice
	d.Former = []tasks.Former[invoice]{
		tasks.From(func(old invoiceV1) invoice {
			var number int
			_, _ = fmt.Sscan(old.Nr, &number)
			return invoice{Number: number}
		}),
	}
	result, err := d.Handle(render).Spec().Run(context.Background(), tasks.Info{}, json.RawMessage(`{"nr":"1042"}`))
	fmt.Println(string(result), err)
	// Output: {"pages":2} <nil>
}
