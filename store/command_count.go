package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// commandCountRow is how often a command changed jobs of one kind in one way.
type commandCountRow struct {
	bun.BaseModel `bun:"table:command_counts,alias:c"`

	Type   string `bun:"type"`
	Queue  string `bun:"queue"`
	Change string `bun:"change"`
	N      int    `bun:"n"`
}

// What commandCountRow.Change says beside the outcomes.
const (
	countCreated  = "created"
	countReopened = "reopened"
)

// CommandCounts is the Observer of a command, whose metrics nothing scrapes: it adds up what the
// command does to jobs, Write leaves the sums in the ledger, and TakeCommandCounts hands them to a
// process that is scraped.
type CommandCounts struct {
	mu   sync.Mutex
	sums map[commandCountRow]int
}

// Created implements Observer.
func (c *CommandCounts) Created(taskType, queue string, n int) {
	c.add(taskType, queue, countCreated, n)
}

// Finished implements Observer.
func (c *CommandCounts) Finished(taskType, queue string, state job.State) {
	c.add(taskType, queue, string(state), 1)
}

// Reopened implements Observer.
func (c *CommandCounts) Reopened(taskType, queue string) { c.add(taskType, queue, countReopened, 1) }

func (c *CommandCounts) add(taskType, queue, change string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sums == nil {
		c.sums = map[commandCountRow]int{}
	}
	c.sums[commandCountRow{Type: taskType, Queue: queue, Change: change}] += n
}

// Write leaves what was counted so far in the ledger, once.
func (c *CommandCounts) Write(ctx context.Context, s *Store) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sums) == 0 {
		return nil
	}
	rows := make([]commandCountRow, 0, len(c.sums))
	for row, n := range c.sums {
		row.N = n
		rows = append(rows, row)
	}
	if _, err := s.db.NewInsert().Model(&rows).Returning("NULL").Exec(ctx); err != nil {
		return s.wrap("write counts of a command", err)
	}
	c.sums = nil
	return nil
}

// TakeCommandCounts tells to what commands did to jobs since it was called last. Each count is told
// once, to one process.
func (s *Store) TakeCommandCounts(ctx context.Context, to Observer) error {
	var rows []commandCountRow
	err := s.db.NewDelete().Model(&rows).Where("TRUE").Returning("type, queue, change, n").Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s.wrap("take counts of commands", err)
	}
	for _, r := range rows {
		r.tell(to)
	}
	return nil
}

func (r *commandCountRow) tell(to Observer) {
	switch r.Change {
	case countCreated:
		to.Created(r.Type, r.Queue, r.N)
	case countReopened:
		for range r.N {
			to.Reopened(r.Type, r.Queue)
		}
	default:
		for range r.N {
			to.Finished(r.Type, r.Queue, job.State(r.Change))
		}
	}
}
