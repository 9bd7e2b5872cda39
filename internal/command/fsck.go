package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/reconcile"
)

type fsckCommand struct {
	Repair   bool `help:"Repair what is found, as the reconciler of the workers would."`
	TakeOver bool `help:"First mark the Redis as this deployment's, also if it is another's. Stop the other deployment before."`
	JSON     bool `name:"json" help:"Print one JSON object."`
}

// Exit codes, as those of diff: 0 where there are no differences, or all were repaired.
const (
	fsckDiffers = 1
	fsckFailed  = 2 // it is not known whether they differ
)

// fsckReport is what --json prints.
type fsckReport struct {
	Complete    bool             `json:"complete"` // false: the comparison broke off, and there may be more
	Repaired    bool             `json:"repaired"`
	Differences []fsckDifference `json:"differences"`
}

type fsckDifference struct {
	Kind   string `json:"kind"`
	Queue  string `json:"queue"`
	TaskID string `json:"task_id"`
	What   string `json:"what"`
}

// Run compares the ledger with Redis and prints where they differ.
func (c *fsckCommand) Run(ctx context.Context, s *streams) error {
	cfg, err := config.Load("DATABASE_URL", "REDIS_URL")
	if err != nil {
		return &codedError{err, fsckFailed}
	}
	found, err := app.Fsck(ctx, cfg, app.FsckOptions{Repair: c.Repair, TakeOver: c.TakeOver})
	if errPrint := c.print(s, found, err == nil); errPrint != nil {
		return &codedError{errPrint, fsckFailed}
	}
	switch {
	case err != nil:
		return &codedError{err, fsckFailed}
	case len(found) > 0 && !c.Repair:
		return &codedError{
			errors.New(
				"ledger and Redis differ: the reconciler of a running worker repairs within a minute what keeps a job from " +
					"running; " +
					"--repair does it now",
			),
			fsckDiffers,
		}
	}
	return nil
}

func (c *fsckCommand) print(s *streams, found []reconcile.Finding, complete bool) error {
	if !c.JSON {
		for _, f := range found {
			fmt.Fprintf(s.out, "%s\t%s\t%s\t%s\n", f.Kind, f.Queue, f.TaskID, f.What)
		}
		if complete && len(found) == 0 {
			fmt.Fprintln(s.out, "no differences")
		}
		return nil
	}
	report := fsckReport{Complete: complete, Repaired: c.Repair && complete, Differences: []fsckDifference{}}
	for _, f := range found {
		report.Differences = append(report.Differences, fsckDifference{f.Kind, f.Queue, f.TaskID, f.What})
	}
	return json.NewEncoder(s.out).Encode(report)
}
