package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/waybill/waybill/internal/loop"
)

// migrationLock is the key of the advisory lock that one process at a time holds while it changes
// the schema: "waybill".
const migrationLock = 0x77617962696c6c

// migrationSettings lift the limits of requests: a migration takes as long as it takes. That for
// locks stays, and a try that meets it is repeated, since a session that waits for an exclusive
// lock on a table keeps all others from the table.
const migrationSettings = `SET application_name = 'waybill migrate'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '3s'`

// exclusively opens a connection beside the pools and holds an advisory lock on it, which goes with
// the connection: a process that dies leaves none behind.
func (p *postgresEngine) exclusively(
	ctx context.Context,
	log *slog.Logger,
	f func(context.Context, schemaConn) error,
) error {
	db := p.openMigrationConn()
	defer db.Close()
	conn := schemaConn{
		db:           bun.NewDB(db, pgdialect.New()),
		lockTimedOut: lockTimedOut,
		freeze:       freezeTables,
		columns:      postgresColumns,
		log:          log,
	}
	pid, err := backend(ctx, db)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn.blockers = func(ctx context.Context) (string, error) { return p.blockers(ctx, pid) }
	conn.same = func(ctx context.Context, db bun.IConn) error {
		switch now, err := backend(ctx, db); {
		case err != nil:
			return err
		case now != pid:
			return errors.New("the connection broke, and the migration lock was lost with it: run the command again")
		}
		return nil
	}
	if err := p.lockMigrations(ctx, db, log); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	return f(ctx, conn)
}

// openMigrationConn is one connection that is set up as those of the pool are, with other limits.
// Statements are not cached: what they mean changes between one migration and the next.
func (p *postgresEngine) openMigrationConn() *sql.DB {
	pool := p.pool.Config()
	pool.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	setUp := func(ctx context.Context, c *pgx.Conn) error {
		if pool.AfterConnect != nil {
			if err := pool.AfterConnect(ctx, c); err != nil {
				return err
			}
		}
		_, err := c.Exec(ctx, migrationSettings)
		return err
	}
	db := stdlib.OpenDB(*pool.ConnConfig, stdlib.OptionAfterConnect(setUp))
	db.SetMaxOpenConns(1)
	return db
}

func backend(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (pid int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid)
	return pid, err
}

// lockMigrations waits for as long as another process changes the schema, and says so.
func (p *postgresEngine) lockMigrations(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	for said := false; ; said = true {
		var got bool
		if err := db.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)",
			int64(migrationLock)).Scan(&got); err != nil ||
			got {
			return err
		}
		if !said {
			var holder string
			if err := p.pool.QueryRow(ctx, lockHolderSQL, int64(migrationLock)).Scan(&holder); err == nil {
				log.WarnContext(ctx, "another process changes the schema; waiting for it", "held_by", holder)
			}
		}
		if !loop.Sleep(ctx, 300*time.Millisecond) {
			return ctx.Err()
		}
	}
}

const lockHolderSQL = `
SELECT string_agg(format('pid %s (%s)', a.pid, coalesce(nullif(a.application_name, ''), 'unnamed')), ', ')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = $1
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// blockers names the tables that a session waits for, and the sessions that hold them.
func (p *postgresEngine) blockers(ctx context.Context, pid int64) (text string, err error) {
	err = p.pool.QueryRow(ctx, blockersSQL, pid).Scan(&text)
	return text, err
}

const blockersSQL = `
SELECT coalesce((SELECT string_agg(DISTINCT coalesce(l.relation::regclass::text, l.locktype), ', ') FROM pg_locks l WHERE l.pid = $1 AND NOT l.granted)
	|| ', held by ' || string_agg(format('pid %s (%s, %s since %s)', b.pid, coalesce(nullif(a.application_name, ''), 'unnamed'),
		coalesce(a.state, 'state unknown'), coalesce(to_char(a.state_change, 'HH24:MI:SS TZ'), '?')), ', '), '')
FROM unnest(pg_blocking_pids($1)) AS b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid`

// lockTimedOut knows lock_not_available and deadlock_detected.
func lockTimedOut(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "55P03" || e.Code == "40P01")
}

func freezeTables(ctx context.Context, db bun.IConn, tables []string) error {
	if len(tables) == 0 {
		return nil
	}
	quoted := make([]string, len(tables))
	for i, t := range tables {
		quoted[i] = pgx.Identifier{t}.Sanitize()
	}
	_, err := db.ExecContext(ctx, "LOCK TABLE "+strings.Join(quoted, ", ")+" IN SHARE ROW EXCLUSIVE MODE")
	return err
}

func postgresColumns(ctx context.Context, db bun.IConn) (map[string][]string, error) {
	return scanColumns(db.QueryContext(ctx, `
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum`))
}
