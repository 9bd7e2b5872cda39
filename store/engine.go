package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// engine is where PostgreSQL and SQLite differ: how to connect, the three hot writes as one round
// trip each, and the clock. Everything else is bun, the same for both.
type engine interface {
	bun() *bun.DB
	close() error

	// insertJobs writes all submissions or none and answers those written. One whose (owner,
	// idempotency key) is known is left out; with strict, that undoes the others too.
	insertJobs(ctx context.Context, subs []job.Submission, strict bool) (inserted, error)
	// insertWithin is insertJobs for submissions without idempotency keys, within a transaction. It
	// answers the moment of their creation.
	insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) (time.Time, error)
	// claimJobs makes active what may run and answers it. No two requests name the same job.
	claimJobs(ctx context.Context, reqs []job.ClaimRequest) ([]*job.Job, error)
	// settleJobs writes the outcomes that the fence lets through and answers these. No two
	// settlements name the same job.
	settleJobs(ctx context.Context, sets []*job.Settlement) ([]settled, error)

	// deliveries is Store.OpenDeliveries: a position without an id, or without a time, comes before
	// all that have one.
	deliveries(
		ctx context.Context,
		queue string,
		after job.Position,
		before time.Time,
		limit int,
	) ([]job.OpenDelivery, error)

	// dueDeliveries is Store.DueDeliveries.
	dueDeliveries(
		ctx context.Context,
		queue string,
		after job.Position,
		before time.Time,
		limit int,
	) ([]job.OpenDelivery, error)

	// now is the database's clock: every time that is compared with another process's comes from
	// it.
	now(ctx context.Context) (time.Time, error)
	// clock is the same as a value in a statement.
	clock() any
	// settledBefore is a time such that every row whose dispatch_at lies before it is visible to
	// all transactions: no transaction that began earlier is still open.
	settledBefore(ctx context.Context) (time.Time, error)
	// exclusively runs f with a connection of its own, while no other process does so: for changes
	// of the schema.
	exclusively(ctx context.Context, log *slog.Logger, f func(context.Context, schemaConn) error) error
	// classify says what an error is to be laid to; see dberror.go.
	classify(err error) dbError
	// repeatable reports an error after which a statement or a whole transaction may be tried again
	// at once.
	repeatable(err error) bool
	// duplicate tells that a row was refused because another one has its unique value. The
	// transaction is lost.
	duplicate(err error) bool
	// forUpdate is the clause that locks the selected rows and skips those that others hold; empty
	// where one writer is alone.
	forUpdate() string
	dialect() string
	// ready is Store.Ready.
	ready(ctx context.Context) error
	// checkSessions is Store.CheckSessions.
	checkSessions(ctx context.Context) error
	// poolStats reads local counters of the connections; no I/O.
	poolStats() PoolStats
}

// inserted says which submissions were written, and when.
type inserted struct {
	at  time.Time
	all bool
	ids map[job.ID]bool // unless all
}

type settled struct {
	ID       job.ID
	State    job.State
	Delivery int
	RunAt    time.Time
}
