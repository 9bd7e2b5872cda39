package store

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// maxTries bounds how often a statement or a transaction is tried that the engine calls repeatable.
const maxTries = 3

// inTx runs f in a transaction, and again where the whole of it may be repeated. f must not build
// on what an earlier call of it left behind.
func (s *Store) inTx(ctx context.Context, f func(context.Context, bun.Tx) error) error {
	return repeat(s.engine.repeatable, func() error { return s.db.RunInTx(ctx, nil, f) })
}

// repeat tries until the error is none that a repetition may repair.
func repeat(repeatable func(error) bool, try func() error) (err error) {
	for range maxTries {
		if err = try(); err == nil || !repeatable(err) {
			return err
		}
	}
	return err
}

// maxCulprits is how many of the rows of a failed transaction may fail alone, one after the other,
// before the reason is taken to be none of theirs.
const maxCulprits = 3

// oneByOne does for each id alone what failed with err for all of them together, so that a row that
// the database refuses does not hold up the others. It answers the first error, if there was any.
func oneByOne(ids []job.ID, err error, do func(job.ID) error) error {
	var first error
	hopeful := maxCulprits
	for _, id := range ids {
		switch failed := do(id); {
		case failed == nil:
			hopeful = maxCulprits
		case job.FaultOf(failed) == job.FaultNone:
			return failed
		default:
			if first == nil {
				first = failed
			}
			if hopeful--; hopeful == 0 {
				return err
			}
		}
	}
	return first
}

// repeating is where bun sends the statements that are in no transaction: they are repeated as inTx
// repeats transactions.
type repeating struct {
	db         *sql.DB
	repeatable func(error) bool
}

// ResolveConn implements bun.ConnResolver.
func (r *repeating) ResolveConn(context.Context, bun.Query) bun.IConn { return r }

// Close implements bun.ConnResolver; the database is closed by bun itself.
func (r *repeating) Close() error { return nil }

// ExecContext implements bun.IConn.
func (r *repeating) ExecContext(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	err = repeat(r.repeatable, func() error { res, err = r.db.ExecContext(ctx, query, args...); return err })
	return res, err
}

// QueryContext implements bun.IConn.
func (r *repeating) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = repeat(r.repeatable, func() error {
		rows, err = r.db.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // the caller closes it
		return err
	})
	return rows, err
}

// QueryRowContext implements bun.IConn.
func (r *repeating) QueryRowContext(ctx context.Context, query string, args ...any) (row *sql.Row) {
	// The row itself holds the error.
	_ = repeat(r.repeatable, func() error { row = r.db.QueryRowContext(ctx, query, args...); return row.Err() })
	return row
}
