package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

type fsckCommand struct {
	Repair   bool `help:"Mend what is found, as the audit of the workers would."`
	TakeOver bool `help:"Make the Redis this deployment's first, whoever had it before. Stop the other deployment before."`
}

// Run compares the ledger with Redis and prints where they differ. It fails where it found something and was not told to mend it.
func (c *fsckCommand) Run(ctx context.Context, s *streams) error {
	cfg, err := config.Load("DATABASE_URL", "REDIS_URL")
	if err != nil {
		return err
	}
	found, err := app.Fsck(ctx, cfg, app.FsckOptions{Repair: c.Repair, TakeOver: c.TakeOver})
	for _, f := range found {
		fmt.Fprintf(s.out, "%s\t%s\t%s\t%s\n", f.Kind, f.Queue, f.TaskID, f.What)
	}
	switch {
	case err != nil:
		return err
	case len(found) > 0 && !c.Repair:
		return errors.New("ledger and Redis differ: the audit of a running worker mends within a minute what keeps a job from running; --repair mends everything now")
	}
	return nil
}
