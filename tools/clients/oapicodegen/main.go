// Command oapicodegen submits a job with the client that oapi-codegen generates, and reads it back.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	waybill "github.com/waybill/waybill/tools/clients/generated/oapicodegen"
)

func main() {
	ctx := context.Background()
	authorize := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("WAYBILL_API_KEY"))
		return nil
	}
	c, err := waybill.NewClientWithResponses(os.Getenv("WAYBILL_URL"), waybill.WithRequestEditorFn(authorize))
	if err != nil {
		log.Fatal(err)
	}
	body := waybill.NewJob{Type: "debug.echo", Payload: map[string]any{"hello": "oapi-codegen"}}
	made, err := c.CreateJobWithResponse(ctx, nil, body)
	if err != nil || made.JSON202 == nil {
		log.Fatalf("submit: %v, %s", err, made.Body)
	}
	read, err := c.GetJobWithResponse(ctx, made.JSON202.Id, nil)
	if err != nil || read.JSON200 == nil {
		log.Fatalf("read: %v, %s", err, read.Body)
	}
	fmt.Println("oapi-codegen:", read.JSON200.Id, read.JSON200.State)
}
