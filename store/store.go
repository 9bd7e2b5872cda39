// Package store is the ledger: every read and every change of state. What it answers is the truth; Redis only carries.
//
// It runs on PostgreSQL, the product, and on SQLite, which `waybill dev` uses. Where the two must differ, the difference
// is the engine (engine.go, postgres.go, sqlite.go), never an if in a method.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// Config says which database to open.
type Config struct {
	URL      string // postgres://… or sqlite:PATH (sqlite::memory: for tests)
	MaxConns int    // of the pool; 0: 20. SQLite has one writer and ignores it
	Log      *slog.Logger
}

// Store is safe for concurrent use.
type Store struct {
	db     *bun.DB
	engine engine
	log    *slog.Logger
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
	return &Store{db: e.bun(), engine: e, log: cfg.Log}, nil
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

// Close lets go of every connection.
func (s *Store) Close() error { return s.engine.close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.wrap("ping", s.db.PingContext(ctx))
}

// wrap names what was being done, and turns the failures of a database that cannot be reached into job.CodeUnavailable, so
// that a caller is told to come back instead of being shown an internal error.
func (s *Store) wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*job.Error)):
		return err
	case s.engine.unavailable(err):
		return job.Unavailable("the ledger cannot be reached", fmt.Errorf("%s: %w", doing, err))
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// found is wrap for look-ups: only sql.ErrNoRows means that what was not found; a failed look-up is never reported as missing.
func (s *Store) found(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return job.NotFound(what)
	}
	return s.wrap("select "+what, err)
}
