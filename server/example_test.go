package server_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/tasks"
)

func ExampleMain() {
	// In main: os.Exit(server.Main(greet.Handle(makeGreeting)))
	_ = func() { os.Exit(server.Main(greet.Handle(makeGreeting))) }
}

func ExampleServer_Setup() {
	setup := func(_ context.Context, e *server.Env) error {
		db, err := sql.Open("pgx", os.Getenv("SHOP_DATABASE_URL"))
		if err != nil {
			return err
		}
		e.OnStop(func(context.Context) error { return db.Close() })
		e.Handle(greet.Handle(func(ctx context.Context, j *tasks.Job[greeting]) (string, error) {
			var name string
			err := db.QueryRowContext(ctx, "SELECT name FROM customers WHERE id = $1", j.Payload.Name).Scan(&name)
			return "hello " + name, err
		}))
		return nil
	}
	_ = func() { os.Exit(server.New(greet).Setup(setup).Main()) }
}

func ExampleServer_Use() {
	timed := func(next tasks.RawFunc) tasks.RawFunc {
		return func(ctx context.Context, info tasks.Info, payload json.RawMessage) (json.RawMessage, error) {
			began := time.Now()
			result, err := next(ctx, info, payload)
			tasks.Log(ctx).Info("handled", slog.Duration("took", time.Since(began)), "err", err)
			return result, err
		}
	}
	_ = func() { os.Exit(server.New(greet.Handle(makeGreeting)).Use(timed).Main()) }
}
