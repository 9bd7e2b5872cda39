package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

type fsckCommand struct {
	Repair bool `help:"Mend what is found, as the audit of the workers would."`
}

// Run compares the ledger with Redis and prints where they differ. It fails where it found something and was not told to mend it.
func (c *fsckCommand) Run(ctx context.Context, s *streams) error {
	cfg, err := config.Load("DATABASE_URL", "REDIS_URL")
	if err != nil {
		return err
	}
	found, err := app.Fsck(ctx, cfg, c.Repair)
	for _, f := range found {
		fmt.Fprintf(s.out, "%s\t%s\t%s\t%s\n", f.Kind, f.Queue, f.TaskID, f.What)
	}
	switch {
	case err != nil:
		return err
	case len(found) > 0 && !c.Repair:
		return errors.New("ledger and Redis differ: the workers' audit mends this by itself, or run it with --repair")
	}
	return nil
}
