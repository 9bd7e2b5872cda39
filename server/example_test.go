package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/server/servertest"
	"github.com/waybill/waybill/tasks"
)

func ExampleMain() {
	// In main: os.Exit(server.Main(greet.Handle(makeGreeting)))
	_ = func() { os.Exit(server.Main(greet.Handle(makeGreeting))) }
}

// directory stands for what a program opens: a database, a client of another service.
type directory map[string]string

func (d directory) greet(_ context.Context, j *tasks.Job[greeting]) (string, error) {
	name, ok := d[j.Payload.Name]
	if !ok {
		return "", tasks.Permanent(fmt.Errorf("%s is not known", j.Payload.Name))
	}
	return "hello " + name, nil
}

func ExampleServer_Setup() {
	program := server.New(greet).Setup(func(_ context.Context, e *server.Env) error {
		people := directory{"a1": "Ann"} // sql.Open(…) in a program
		e.OnStop(func(context.Context) error { fmt.Println("closed"); return nil })
		e.Handle(greet.Handle(people.greet))
		return nil
	})
	try(program, "a1") // os.Exit(program.Main()) in a program
	// Output:
	// hello Ann <nil>
	// closed
}

func ExampleServer_Use() {
	timed := func(next tasks.RawFunc) tasks.RawFunc {
		return func(ctx context.Context, info tasks.Info, payload json.RawMessage) (json.RawMessage, error) {
			began := time.Now()
			result, err := next(ctx, info, payload)
			tasks.Log(ctx).Info("handled", slog.Duration("took", time.Since(began)), "err", err)
			fmt.Println("handled", info.Type, string(payload), err)
			return result, err
		}
	}
	try(server.New(greet.Handle(makeGreeting)).Use(timed), "Bob")
	// Output:
	// handled greeting.make {"name":"Bob"} <nil>
	// hello Bob <nil>
}

// try runs a whole deployment of the program for one job, and prints the result.
func try(program *server.Server, name string) {
	ctx := context.Background()
	c, stop, err := servertest.Run(program)
	if err != nil {
		log.Fatal(err)
	}
	j, err := client.Submit(ctx, c, greet, greeting{name})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(j.Wait(ctx))
	if err := stop(); err != nil {
		log.Fatal(err)
	}
}
