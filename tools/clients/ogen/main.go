// Command ogen submits a job with the client that ogen generates, and reads it back.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	waybill "github.com/waybill/waybill/tools/clients/generated/ogen"
)

// key is the API key that every request carries.
type key string

func (k key) Token(context.Context, waybill.OperationName) (waybill.Token, error) {
	return waybill.Token{Token: string(k)}, nil
}

func main() {
	ctx := context.Background()
	c, err := waybill.NewClient(os.Getenv("WAYBILL_URL"), key(os.Getenv("WAYBILL_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	body := &waybill.NewJob{Type: "debug.echo", Payload: waybill.Payload{"hello": []byte(`"ogen"`)}}
	answer, err := c.CreateJob(ctx, body, waybill.CreateJobParams{})
	if err != nil {
		log.Fatalf("submit: %v", err)
	}
	made, ok := answer.(*waybill.JobHeaders)
	if !ok {
		log.Fatalf("submit: %+v", answer)
	}
	read, err := c.GetJob(ctx, waybill.GetJobParams{ID: made.Response.ID})
	if err != nil {
		log.Fatalf("read: %v", err)
	}
	job, ok := read.(*waybill.JobResponseHeaders)
	if !ok {
		log.Fatalf("read: %+v", read)
	}
	fmt.Printf("ogen: %x %s\n", job.Response.ID[:], job.Response.State)
}
