//go:build !nosqlite

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteEngine is the engine of `waybill dev`: one file, one writer, the process's own clock.
type sqliteEngine struct {
	db   *bun.DB
	path string
	lock sync.Mutex
}

// synchronous(full) makes a commit survive the machine's death too: the promise is the same as on
// PostgreSQL.
const litePragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_txlock=immediate"

func openSQLite(ctx context.Context, path string) (engine, error) {
	db, err := sql.Open("sqlite", "file:"+path+litePragmas)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", path, err), db.Close())
	}
	return &sqliteEngine{db: bun.NewDB(db, sqlitedialect.New()), path: path}, nil
}

func (l *sqliteEngine) bun() *bun.DB      { return l.db }
func (l *sqliteEngine) close() error      { return l.db.Close() }
func (l *sqliteEngine) dialect() string   { return "sqlite" }
func (l *sqliteEngine) forUpdate() string { return "" }
func (l *sqliteEngine) clock() any        { return liteNow() }

func (l *sqliteEngine) now(context.Context) (time.Time, error) { return liteNow(), nil }

// settledBefore is now: with one writer, what is not visible was not written.
func (l *sqliteEngine) settledBefore(context.Context) (time.Time, error) { return liteNow(), nil }

// liteNow has PostgreSQL's resolution, so that both engines answer the same times.
func liteNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// exclusively locks a file beside the database in the way that SQLite locks any: it is free when
// its holder is gone.
func (l *sqliteEngine) exclusively(
	ctx context.Context,
	log *slog.Logger,
	f func(context.Context, schemaConn) error,
) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	conn := l.schemaConn(log)
	if l.path == ":memory:" {
		return f(ctx, conn)
	}
	guard, err := sql.Open("sqlite", "file:"+l.path+".lock?_pragma=busy_timeout(60000)")
	if err != nil {
		return err
	}
	defer guard.Close()
	guard.SetMaxOpenConns(1)
	if _, err := guard.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	return f(ctx, conn)
}

// schemaConn is the one connection that there is. Its transactions hold the writer's lock from
// their start.
func (l *sqliteEngine) schemaConn(log *slog.Logger) schemaConn {
	return schemaConn{
		db:           l.db,
		same:         func(context.Context, bun.IConn) error { return nil },
		blockers:     func(context.Context) (string, error) { return "", nil },
		lockTimedOut: func(error) bool { return false },
		freeze:       func(context.Context, bun.IConn, []string) error { return nil },
		columns:      liteColumns,
		log:          log,
	}
}

func liteColumns(ctx context.Context, db bun.IConn) (map[string][]string, error) {
	return scanColumns(db.QueryContext(ctx, `
SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'`))
}

// classify sorts SQLite's errors by their primary result code: https://www.sqlite.org/rescode.html
func (l *sqliteEngine) classify(err error) dbError {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
			return faultContent
		case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_INTERNAL:
			return faultStatement
		}
		return faultReach // locked, full, read-only, an I/O error: of the file, not of a row
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) ||
		errors.Is(err, driver.ErrBadConn) {
		return faultReach
	}
	return noFault
}

// repeatable is always false: there is one writer at a time, and the driver prepares statements
// again.
func (l *sqliteEngine) repeatable(error) bool { return false }

// ready takes the writer's lock, which a file that is read-only refuses.
func (l *sqliteEngine) ready(ctx context.Context) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return tx.Rollback()
}

func (l *sqliteEngine) checkSessions(context.Context) error { return nil }

func (l *sqliteEngine) duplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

func (l *sqliteEngine) poolStats() PoolStats {
	st := l.db.DB.Stats()
	return PoolStats{
		Max:    st.MaxOpenConnections,
		InUse:  st.InUse,
		Idle:   st.Idle,
		Waits:  st.WaitCount,
		Waited: st.WaitDuration,
	}
}
