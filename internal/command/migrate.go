package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/store"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Apply every migration that is missing."`
	Down   migrateDown   `cmd:"" help:"Undo the newest migration, if no data is lost by that."`
	Status migrateStatus `cmd:"" help:"List the migrations."`
}

type (
	migrateUp   struct{}
	migrateDown struct {
		DestroyData bool `help:"Undo it even if rows or values are lost by that."`
	}
	migrateStatus struct{}
)

func (migrateUp) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		names, err := st.Migrate(ctx)
		for _, n := range names {
			fmt.Fprintln(s.out, "applied", n)
		}
		if err != nil {
			return err
		}
		list, err := st.Migrations(ctx)
		if err != nil {
			return err
		}
		if newer := newerOf(list); len(newer) > 0 {
			fmt.Fprintf(
				s.out,
				"the database is of a newer release, which this one can run beside (%s): nothing was changed\n",
				strings.Join(newer, ", "),
			)
		} else if len(names) == 0 {
			fmt.Fprintln(s.out, "nothing to do")
		}
		return nil
	})
}

func newerOf(list []store.Migration) (names []string) {
	for _, m := range list {
		if m.Newer {
			names = append(names, m.Name)
		}
	}
	return names
}

func (c *migrateDown) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		name, err := st.Rollback(ctx, c.DestroyData)
		var data *store.DataLossError
		switch {
		case errors.As(err, &data):
			return fmt.Errorf("%w (--destroy-data undoes it all the same)", err)
		case err != nil:
			return err
		case name == "":
			fmt.Fprintln(s.out, "nothing to do")
		default:
			fmt.Fprintln(s.out, "undone", name)
		}
		return nil
	})
}

func (migrateStatus) Run(ctx context.Context, s *streams) error {
	return withStore(ctx, s, func(st *store.Store) error {
		list, err := st.Migrations(ctx)
		for _, m := range list {
			fmt.Fprintf(s.out, "%-8s %s%s\n", mark(m), m.Name, note(m))
		}
		return err
	})
}

func mark(m store.Migration) string {
	switch {
	case m.Newer:
		return "newer"
	case m.Edited:
		return "edited"
	case m.Applied:
		return "applied"
	}
	return "pending"
}

func note(m store.Migration) string {
	switch {
	case m.Newer && m.Additive:
		return " (not known to this program, which can run beside it)"
	case m.Newer:
		return " (not known to this program, which cannot use the database)"
	case m.Edited:
		return " (the database was made with another version of this migration)"
	}
	return ""
}

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
