// Package store is the ledger: every read and every change of state. Its rows are the truth; Redis
// only delivers.
//
// It is a part of Waybill, not a library: its Go API and its tables change without notice. Programs
// are built with packages tasks, server and client.
//
// It runs on PostgreSQL, the product, and on SQLite, which `waybill dev` uses. Where the two must
// differ, the difference is the engine (engine.go, postgres.go, sqlite.go), never an if in a
// method.
package store

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/clock"
)

// Config says which database to open.
type Config struct {
	URL      string // postgres://… or sqlite:PATH (sqlite::memory: for tests)
	MaxConns int    // of the pool; 0: 20. SQLite has one writer and ignores it
	Log      *slog.Logger
	Observer Observer // of changes of jobs; nil: none
}

// Store is safe for concurrent use.
type Store struct {
	db       *bun.DB
	engine   engine
	times    *clock.Clock
	log      *slog.Logger
	observer Observer
}

// Open connects to the database. It does not migrate it: see Migrate and Check.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Log == nil {
		return nil, errors.New("store: no logger")
	}
	e, err := openEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Observer == nil {
		cfg.Observer = silent{}
	}
	return &Store{db: e.bun(), engine: e, times: clock.New(), log: cfg.Log, observer: cfg.Observer}, nil
}

func openEngine(ctx context.Context, cfg Config) (engine, error) {
	switch scheme, rest, _ := strings.Cut(cfg.URL, ":"); scheme {
	case "postgres", "postgresql":
		return openPostgres(ctx, cfg)
	case "sqlite":
		return openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	default:
		return nil, errors.New("a database URL begins with postgres:// or sqlite:PATH")
	}
}

// Clock estimates the time of the database's clock from what Now and Heartbeat have read of it.
func (s *Store) Clock() *clock.Clock { return s.times }

// Close lets go of every connection.
func (s *Store) Close() error { return s.engine.close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.wrap("ping", s.db.PingContext(ctx))
}

// ErrNoSessions is why a process refuses to start behind a pooler that hands a connection's session
// to others.
var ErrNoSessions = errors.New(
	"it leads to a pooler in transaction mode (PgBouncer: pool_mode = transaction or statement). " +
		"Waybill needs a session of its own for each connection: use pool_mode = session for this database, or " +
		"connect to PostgreSQL itself",
)

// Why a database that answers cannot be used.
var (
	errReadOnly   = errors.New("the database is read-only: a standby, or default_transaction_read_only")
	errNotAllowed = errors.New(
		"the role may not write jobs: it lacks INSERT, UPDATE or DELETE on submissions, open_jobs or outcomes",
	)
)

// Ready reports why jobs could not be written now. It writes nothing.
func (s *Store) Ready(ctx context.Context) error {
	return s.wrap("ask whether jobs can be written", s.engine.ready(ctx))
}

// CheckSessions refuses a database behind a pooler that does not keep a session for each
// connection. Processes ask once, when they start.
func (s *Store) CheckSessions(ctx context.Context) error {
	err := s.engine.checkSessions(ctx)
	if errors.Is(err, ErrNoSessions) {
		return err
	}
	return s.wrap("connect", err)
}
