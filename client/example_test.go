package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/tasks"
)

type invoice struct {
	Number int `json:"number" jsonschema:"minimum=1"`
}

type document struct {
	Pages int `json:"pages"`
}

var renderInvoice = tasks.Definition[invoice, document]{Name: "invoice.render"}

func render(_ context.Context, j *tasks.Job[invoice]) (document, error) {
	if j.Payload.Number > 9999 {
		return document{}, tasks.Permanent(fmt.Errorf("there is no invoice %d", j.Payload.Number))
	}
	return document{Pages: j.Payload.Number % 10}, nil
}

func ExampleSubmit() {
	ctx, c := context.Background(), connect() // client.FromEnv() in a program
	j, err := client.Submit(ctx, c, renderInvoice, invoice{Number: 1042}, client.Queue("low"))
	if err != nil {
		log.Print(err)
		return
	}
	d, err := j.Wait(ctx)
	fmt.Println(d.Pages, err, j.Queue, j.State)
	// Output: 2 <nil> low completed
}

func ExampleJobError() {
	ctx, c := context.Background(), connect()
	j, err := client.Submit(ctx, c, renderInvoice, invoice{Number: 10_000})
	if err != nil {
		log.Print(err)
		return
	}
	_, err = j.Wait(ctx)
	var failed *client.JobError
	fmt.Println(errors.As(err, &failed), failed.State, failed.Message)
	// Output: true archived there is no invoice 10000
}

func ExampleError() {
	_, err := client.Submit(context.Background(), connect(), renderInvoice, invoice{})
	var refused *client.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Status, refused.Code, refused.Fields)
	}
	// Output: 422 invalid [{/payload/number must be at least 1}]
}

func ExampleBatch() {
	ctx := context.Background()
	var b client.Batch
	first := client.Add(&b, renderInvoice, invoice{Number: 3}, client.Label("customer", "ann"))
	second := client.Add(&b, renderInvoice, invoice{Number: 4}, client.Label("customer", "ann"))
	if err := b.Submit(ctx, connect()); err != nil { // all or none
		log.Print(err)
		return
	}
	for _, j := range []*client.Job[document]{first, second} {
		d, err := j.Wait(ctx)
		fmt.Println(d.Pages, err)
	}
	// Output:
	// 3 <nil>
	// 4 <nil>
}

func ExampleClient_List() {
	ctx, c := context.Background(), connect()
	j, err := client.Submit(ctx, c, renderInvoice, invoice{Number: 5}, client.Label("customer", "bob"))
	if err != nil {
		log.Print(err)
		return
	}
	filter := client.Filter{Type: renderInvoice.Name, Labels: map[string]string{"customer": "bob"}}
	for info, err := range c.List(ctx, filter) {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Println(info.ID == j.ID, info.Type, info.Labels)
	}
	// Output: true invoice.render map[customer:bob]
}
