package main

import (
	"context"
	"fmt"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/store"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Apply every migration that is missing."`
	Down   migrateDown   `cmd:"" help:"Undo the migrations that were applied last. It destroys what they hold."`
	Status migrateStatus `cmd:"" help:"List the migrations."`
}

type (
	migrateUp     struct{}
	migrateDown   struct{}
	migrateStatus struct{}
)

func (migrateUp) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		names, err := st.Migrate(ctx)
		report(s, "applied", names)
		return err
	})
}

func (migrateDown) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		names, err := st.Rollback(ctx)
		report(s, "undone", names)
		return err
	})
}

func (migrateStatus) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		list, err := st.Migrations(ctx)
		for _, m := range list {
			mark := "pending"
			if m.Applied {
				mark = "applied"
			}
			fmt.Fprintf(s.out, "%-8s %s\n", mark, m.Name)
		}
		return err
	})
}

func report(s *streams, verb string, names []string) {
	if len(names) == 0 {
		fmt.Fprintln(s.out, "nothing to do")
	}
	for _, n := range names {
		fmt.Fprintln(s.out, verb, n)
	}
}

// withStore opens the ledger that DATABASE_URL names.
func withStore(ctx context.Context, s *streams, f func(*store.Store) error) error {
	cfg, err := config.Load("DATABASE_URL")
	if err != nil {
		return err
	}
	st, err := app.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	return f(st)
}
