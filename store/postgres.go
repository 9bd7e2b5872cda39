package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// postgres is the engine of the product. The hot writes go past bun's formatting, as prepared statements on arrays, and have a few
// connections of their own: no slow list can keep them waiting.
type postgres struct {
	pool *pgxpool.Pool
	hot  *pgxpool.Pool
	db   *bun.DB
}

// hotConns is one for each flush of the three hot writes that can be on its way at once, and one to spare.
const hotConns = 7

// hotSettings hold the hot writes to one plan, made once for each connection: for each element of the arrays a look-up by key. Left to itself, a
// planner whose statistics are of a moment when the queue was empty walks all open jobs for each flush instead. Without seqscans it would walk an
// index; so the statements say id = ANY (ARRAY[x]) for id = x, which is no order that a walk could follow and nothing to hash or merge by: the key
// is all that is left.
var hotSettings = map[string]string{"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

const (
	defaultMaxConns  = 20
	connectTimeout   = 5 * time.Second
	statementTimeout = "15s" // a statement that takes longer is one that will not end
	lockTimeout      = "5s"
)

func openPostgres(ctx context.Context, cfg Config) (engine, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("the database URL cannot be read") // pgx's own text holds the URL, and that the password
	}
	pc.MaxConns = defaultMaxConns
	if cfg.MaxConns > 0 {
		pc.MaxConns = int32(cfg.MaxConns)
	}
	pc.ConnConfig.ConnectTimeout = connectTimeout
	for name, value := range map[string]string{
		"application_name": "waybill", "timezone": "UTC", "statement_timeout": statementTimeout, "lock_timeout": lockTimeout,
		"idle_in_transaction_session_timeout": "30s",
	} {
		if pc.ConnConfig.RuntimeParams[name] == "" {
			pc.ConnConfig.RuntimeParams[name] = value
		}
	}
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // whatever the URL says: columns and rows are for prepared statements
	pc.AfterConnect = func(_ context.Context, c *pgx.Conn) error { takeColumns(c.TypeMap()); return nil }
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	hc := pc.Copy()
	hc.MaxConns = hotConns
	maps.Copy(hc.ConnConfig.RuntimeParams, hotSettings)
	hot, err := pgxpool.NewWithConfig(ctx, hc)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &postgres{pool: pool, hot: hot, db: bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New())}, nil
}

func (p *postgres) bun() *bun.DB      { return p.db }
func (p *postgres) dialect() string   { return "postgres" }
func (p *postgres) forUpdate() string { return "UPDATE SKIP LOCKED" }
func (p *postgres) clock() any        { return bun.Safe("now()") }

func (p *postgres) close() error {
	err := p.db.Close()
	p.hot.Close()
	p.pool.Close()
	return err
}

func (p *postgres) now(ctx context.Context) (now time.Time, err error) {
	err = p.pool.QueryRow(ctx, "SELECT now()").Scan(&now)
	return now, err
}

// settledBefore asks for the oldest transaction that is open in this database. dispatch_at is the start of the transaction that writes it, so
// a row that nobody can see yet has a dispatch_at at or after that. Sessions of other roles hide their start, and write no jobs.
func (p *postgres) settledBefore(ctx context.Context) (t time.Time, err error) {
	err = p.pool.QueryRow(ctx, `SELECT least(now(), (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database()))`).Scan(&t)
	return t, err
}

// unavailable knows the SQLSTATE classes 08 (connection), 53 (resources), 57 (operator intervention: shutdown, canceled, timeout) and
// 55P03 (lock timeout), and everything that went wrong on the way there. https://www.postgresql.org/docs/15/errcodes-appendix.html
func (p *postgres) unavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "40":
			return true
		}
		return pg.Code == "55P03" || pg.Code == "25006" // read-only: a standby that was just promoted or demoted
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed pool")
}

func (p *postgres) duplicate(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}

func (p *postgres) poolStats() PoolStats {
	st := p.pool.Stat()
	return PoolStats{Max: int(st.MaxConns()), InUse: int(st.AcquiredConns()), Idle: int(st.IdleConns()),
		Waits: st.EmptyAcquireCount(), Waited: st.EmptyAcquireWaitTime()}
}
