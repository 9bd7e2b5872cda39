package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"
)

//go:embed migrations
var migrationFiles embed.FS

// Migration is one step of the schema's history.
type Migration struct {
	Name    string
	Applied bool
}

// ErrPending and ErrUnknown are why a process refuses to start.
var (
	ErrPending = errors.New("the database lacks migrations: run `waybill migrate up`")
	ErrUnknown = errors.New("the database has migrations that this program does not know: it is older than the schema")
)

func (s *Store) migrations() (*migrate.Migrations, *migrate.Migrator, error) {
	dir, err := fs.Sub(migrationFiles, "migrations/"+s.engine.dialect())
	if err != nil {
		return nil, nil, fmt.Errorf("find migrations: %w", err)
	}
	known := migrate.NewMigrations()
	if err := known.Discover(dir); err != nil {
		return nil, nil, fmt.Errorf("read migrations: %w", err)
	}
	// The library reads its own table with SELECT *, which a newer release may give more columns.
	db := bun.NewDB(s.db.DB, s.db.Dialect(), bun.WithDiscardUnknownColumns(), bun.WithConnResolver(&repeating{s.db.DB, s.engine.repeatable}))
	return known, migrate.NewMigrator(db, known, migrate.WithMarkAppliedOnSuccess(true)), nil
}

// Migrate applies what is missing, each file in its own transaction, under a lock that dies with its holder. It answers the names of what
// it applied.
func (s *Store) Migrate(ctx context.Context) ([]string, error) {
	return s.change(ctx, func(m *migrate.Migrator) (*migrate.MigrationGroup, error) { return m.Migrate(ctx) })
}

// Rollback undoes the group of migrations that was applied last. It answers their names.
func (s *Store) Rollback(ctx context.Context) ([]string, error) {
	return s.change(ctx, func(m *migrate.Migrator) (*migrate.MigrationGroup, error) { return m.Rollback(ctx) })
}

func (s *Store) change(ctx context.Context, apply func(*migrate.Migrator) (*migrate.MigrationGroup, error)) ([]string, error) {
	_, m, err := s.migrations()
	if err != nil {
		return nil, err
	}
	var names []string
	err = s.engine.withLock(ctx, func(ctx context.Context) error {
		if err := m.Init(ctx); err != nil {
			return fmt.Errorf("create migration tables: %w", err)
		}
		group, err := apply(m)
		if group != nil {
			for _, mig := range group.Migrations {
				names = append(names, mig.String())
			}
		}
		return err
	})
	return names, s.wrap("migrate", err)
}

// Migrations lists the history, oldest first: what this program knows, then what only the database knows.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	known, unknown, err := s.history(ctx)
	if err != nil {
		return nil, err
	}
	return append(known, unknown...), nil
}

// Check refuses a database whose schema is not this program's.
func (s *Store) Check(ctx context.Context) error {
	known, unknown, err := s.history(ctx)
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%w (%s)", ErrUnknown, unknown[0].Name)
	}
	for _, m := range known {
		if !m.Applied {
			return fmt.Errorf("%w (%s)", ErrPending, m.Name)
		}
	}
	return nil
}

func (s *Store) history(ctx context.Context) (known, unknown []Migration, err error) {
	files, m, err := s.migrations()
	if err != nil {
		return nil, nil, err
	}
	applied, err := m.AppliedMigrations(ctx)
	if err != nil && !missingTable(err) { // a database that was never migrated has no history
		return nil, nil, s.wrap("read applied migrations", err)
	}
	done := map[string]bool{}
	for _, a := range applied {
		done[a.Name] = true
	}
	for _, f := range files.Sorted() {
		known = append(known, Migration{Name: f.String(), Applied: done[f.Name]})
		delete(done, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(done)) {
		unknown = append(unknown, Migration{Name: name, Applied: true})
	}
	return known, unknown, nil
}

func missingTable(err error) bool {
	return strings.Contains(err.Error(), "42P01") || strings.Contains(err.Error(), "no such table")
}
