package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/tasks"
)

type invoice struct {
	Number int `json:"number"`
}

type document struct {
	Pages int `json:"pages"`
}

var renderInvoice = tasks.Definition[invoice, document]{Name: "invoice.render"}

func ExampleSubmit() {
	ctx := context.Background()
	c, err := client.FromEnv() // WAYBILL_URL and WAYBILL_API_KEY
	if err != nil {
		log.Print(err)
		return
	}
	j, err := client.Submit(
		ctx,
		c,
		renderInvoice,
		invoice{Number: 1042},
		client.Queue("low"),
		client.Delay(time.Minute),
	)
	if err != nil {
		log.Print(err)
		return
	}
	d, err := j.Wait(ctx)
	fmt.Println(d.Pages, err)
}

func ExampleClient_List() {
	c, err := client.New("https://jobs.example.com", "wb_…")
	if err != nil {
		log.Print(err)
		return
	}
	for j, err := range c.List(context.Background(), client.Filter{State: client.StateArchived}) {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Println(j.ID, j.Err())
	}
}
