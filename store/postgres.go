package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// postgresEngine is the engine of the product. The hot writes go past bun's formatting, as prepared
// statements on arrays, and have a few connections of their own: no slow list can keep them
// waiting.
type postgresEngine struct {
	pool *pgxpool.Pool
	hot  *pgxpool.Pool
	db   *bun.DB

	replaced atomic.Int64 // how often all connections were replaced
	readOnly atomic.Bool  // whether any connection was ever opened read-only
}

// hotConns is one for each flush of the three hot writes that can be on its way at once, and one to
// spare.
const hotConns = 7

const (
	defaultMaxConns = 20
	connectTimeout  = 5 * time.Second
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
	// Whatever the URL says: columns and rows are for prepared statements.
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	params := pc.ConnConfig.RuntimeParams
	pc.ConnConfig.RuntimeParams = map[string]string{} // see sessions
	p := new(postgresEngine)
	if p.pool, err = p.openPool(ctx, pc, params, nil); err != nil {
		return nil, err
	}
	hc := pc.Copy()
	hc.MaxConns = hotConns
	if p.hot, err = p.openPool(ctx, hc, params, hotSettings); err != nil {
		p.pool.Close()
		return nil, err
	}
	sqldb := stdlib.OpenDBFromPool(p.pool)
	p.db = bun.NewDB(sqldb, pgdialect.New(), bun.WithConnResolver(&repeating{sqldb, p.repeatable}))
	return p, nil
}

// openPool makes a pool whose sessions have the settings of the URL, and then those in extra.
func (p *postgresEngine) openPool(
	ctx context.Context,
	c *pgxpool.Config,
	params, extra map[string]string,
) (*pgxpool.Pool, error) {
	s, err := newSessions(params, extra, &p.readOnly)
	if err != nil {
		return nil, err
	}
	c.ConnConfig.OnPgError = p.onError
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		p.nameSession(conn.PgConn())
		return s.begin(ctx, conn)
	}
	c.PrepareConn = s.usable
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

func (p *postgresEngine) bun() *bun.DB      { return p.db }
func (p *postgresEngine) dialect() string   { return "postgres" }
func (p *postgresEngine) forUpdate() string { return "UPDATE SKIP LOCKED" }
func (p *postgresEngine) clock() any        { return bun.Safe("now()") }

func (p *postgresEngine) close() error {
	err := p.db.Close()
	p.hot.Close()
	p.pool.Close()
	return err
}

func (p *postgresEngine) now(ctx context.Context) (now time.Time, err error) {
	err = p.pool.QueryRow(ctx, "SELECT now()").Scan(&now)
	return now, err
}

// settledBefore asks for the oldest transaction that a process of this deployment has open in this
// database. dispatch_at is the start of the transaction that writes it, so a row that is not
// visible yet has a dispatch_at at or after that. Other programs write no jobs, however long their
// transactions are: those of this deployment are known by their application_name.
func (p *postgresEngine) settledBefore(ctx context.Context) (t time.Time, err error) {
	err = p.pool.QueryRow(ctx, settledBeforeSQL).Scan(&t)
	return t, err
}

// PostgreSQL does not show to other roles when a transaction began, and not at all where
// track_activities is off. Such a session counts as a minute old: statement_timeout and
// idle_in_transaction_session_timeout keep the transactions of this package shorter than that.
const settledBeforeSQL = `
SELECT least(now(), (
	SELECT min(CASE WHEN state IS NULL OR state = 'disabled' THEN now() - interval '1 minute' ELSE xact_start END) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = '` + applicationName +
	`' AND coalesce(backend_type, 'client backend') = 'client backend'))`

func (p *postgresEngine) poolStats() PoolStats {
	st := p.pool.Stat()
	return PoolStats{Max: int(st.MaxConns()), InUse: int(st.AcquiredConns()), Idle: int(st.IdleConns()),
		Waits: st.EmptyAcquireCount(), Waited: st.EmptyAcquireWaitTime()}
}
