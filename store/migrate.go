package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"

	"github.com/waybill/waybill/internal/loop"
)

// Why the schema and this program do not go together. A process that meets one of them refuses to
// start.
var (
	ErrPending = errors.New("the database lacks migrations: run `waybill migrate up`")
	ErrUnknown = errors.New("the database has migrations that this program does not know: it is older than the schema")
	ErrEdited  = errors.New(
		"the database was made with another version of a migration: its schema is not the one that this program " +
			"expects",
	)
)

// lockTimeout is how long a migration waits in all for locks that other sessions hold.
const lockTimeout = 10 * time.Minute

// Migrate applies what is missing, each file in its own transaction together with its record. One
// process at a time does so. It answers the names of what it applied, also when a later one fails.
// It refuses to apply anything beneath a schema of a newer release.
func (s *Store) Migrate(ctx context.Context) (applied []string, err error) {
	err = s.engine.exclusively(ctx, s.log, func(ctx context.Context, c schemaConn) error {
		m, err := newMigrator(s.engine.dialect(), c)
		if err != nil {
			return err
		}
		if err := m.init(ctx); err != nil {
			return fmt.Errorf("create the migration tables: %w", err)
		}
		h, err := m.history(ctx)
		if err != nil {
			return err
		}
		if err := h.mayGoUp(); err != nil {
			return err
		}
		if err := m.adopt(ctx, h); err != nil {
			return fmt.Errorf("record the migrations' checksums: %w", err)
		}
		for _, f := range h.pending() {
			if err := m.up(ctx, f); err != nil {
				return err
			}
			applied = append(applied, f.String())
		}
		return nil
	})
	return applied, s.wrapMigration(err)
}

// Rollback undoes the newest migration and answers its name, empty where none is applied. Unless
// destroyData is set, it refuses to undo one that would take rows or values with it. A program that
// does not know all that is applied, or knows another version of it, refuses too.
func (s *Store) Rollback(ctx context.Context, destroyData bool) (undone string, err error) {
	err = s.engine.exclusively(ctx, s.log, func(ctx context.Context, c schemaConn) error {
		m, err := newMigrator(s.engine.dialect(), c)
		if err != nil {
			return err
		}
		h, err := m.history(ctx)
		if err != nil {
			return err
		}
		last, err := h.mayGoDown()
		if err != nil || last == nil {
			return err
		}
		if err := m.down(ctx, *last, destroyData); err != nil {
			return err
		}
		undone = last.String()
		return nil
	})
	return undone, s.wrapMigration(err)
}

// wrapMigration leaves what is told to an operator as it is: s.wrap would hide it behind "the
// ledger cannot be reached".
func (s *Store) wrapMigration(err error) error {
	var data *DataLossError
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrEdited), errors.Is(err, ErrLocked), errors.As(err, &data):
		return err
	}
	return s.wrap("migrate", err)
}

// ErrLocked is why a migration gave up: another session held a lock all the time.
var ErrLocked = errors.New("a lock was not free")

// schemaConn is one connection for changes of the schema. It has no time-outs but that for locks.
type schemaConn struct {
	db *bun.DB // of that one connection
	// same reports whether it is still that connection: a new one does not hold the migration lock.
	same func(ctx context.Context, db bun.IConn) error
	// blockers says what the connection waits for, and for whom.
	blockers func(ctx context.Context) (string, error)
	// lockTimedOut tells that a statement did not get a lock in time.
	lockTimedOut func(error) bool
	// freeze keeps other sessions from writing to these tables until the transaction ends.
	freeze func(ctx context.Context, db bun.IConn, tables []string) error
	// columns lists the columns of each table.
	columns func(ctx context.Context, db bun.IConn) (map[string][]string, error)
	log     *slog.Logger
}

// migrator applies and undoes single migrations.
type migrator struct {
	schemaConn
	files map[string]migrationFile
	known migrate.MigrationSlice // oldest first
}

func newMigrator(dialect string, c schemaConn) (*migrator, error) {
	known, files, err := readMigrations(dialect)
	if err != nil {
		return nil, err
	}
	return &migrator{schemaConn: c, files: files, known: known}, nil
}

// bun is bun's migrator, with the hooks that run within a migration's transaction.
func (m *migrator) bun(before, after migrate.MigrationHook) *migrate.Migrator {
	return migrate.NewMigrator(
		m.db,
		migrate.NewMigrations(),
		migrate.BeforeMigration(before),
		migrate.AfterMigration(after),
	)
}

func (m *migrator) init(ctx context.Context) error {
	if err := m.bun(nil, nil).Init(ctx); err != nil {
		return err
	}
	_, err := m.db.NewCreateTable().Model((*migrationDetail)(nil)).IfNotExists().Exec(ctx)
	return err
}

// adopt records the checksums of migrations that were applied before there were checksums.
func (m *migrator) adopt(ctx context.Context, h history) error {
	for _, e := range h {
		if !e.Applied || e.Newer || e.recorded {
			continue
		}
		if err := m.record(ctx, m.db, e.version); err != nil {
			return err
		}
	}
	return nil
}

func (m *migrator) record(ctx context.Context, db bun.IConn, version string) error {
	f := m.files[version]
	_, err := m.db.NewInsert().
		Conn(db).
		Model(&migrationDetail{Name: version, Checksum: f.checksum, Additive: f.additive}).
		Exec(ctx)
	return err
}

// up applies one migration and records it, in one transaction where the file allows it.
func (m *migrator) up(ctx context.Context, mig migrate.Migration) error {
	before := func(ctx context.Context, db bun.IConn, _ *migrate.Migration) error { return m.same(ctx, db) }
	after := func(ctx context.Context, db bun.IConn, mig *migrate.Migration) error {
		if err := m.record(ctx, db, mig.Name); err != nil {
			return err
		}
		_, err := m.db.NewInsert().Conn(db).Model(mig).ModelTableExpr(migrationTable).Exec(ctx)
		return err
	}
	b := m.bun(before, after)
	err := m.waiting(ctx, mig, m.files[mig.Name].up.transactional(), func() error { return mig.Up(ctx, b, &mig) })
	if err != nil {
		return fmt.Errorf("%s was not applied: %w", mig.String(), err)
	}
	return nil
}

// down undoes one migration and its record.
func (m *migrator) down(ctx context.Context, mig migrate.Migration, destroyData bool) error {
	file := m.files[mig.Name].down
	if !file.transactional() && !destroyData { // what it takes along is known when it is gone
		return fmt.Errorf("%s: it cannot be undone in a transaction: %w", mig.String(), &DataLossError{})
	}
	var had contents
	before := func(ctx context.Context, db bun.IConn, _ *migrate.Migration) (err error) {
		if err = m.same(ctx, db); err == nil && !destroyData {
			had, err = m.contents(ctx, db)
		}
		return err
	}
	after := func(ctx context.Context, db bun.IConn, mig *migrate.Migration) error {
		if !destroyData {
			has, err := m.contents(ctx, db)
			if err != nil {
				return err
			}
			if lost := had.without(has); len(lost) > 0 {
				return &DataLossError{Lost: lost}
			}
		}
		for _, table := range []string{migrationTable, detailTable} {
			if _, err := m.db.NewDelete().Conn(db).Table(table).Where("name = ?", mig.Name).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	b := m.bun(before, after)
	err := m.waiting(ctx, mig, file.transactional(), func() error { return mig.Down(ctx, b, &mig) })
	if err != nil {
		return fmt.Errorf("%s was not undone: %w", mig.String(), err)
	}
	return nil
}

// waiting repeats what did not get its lock, and says meanwhile who holds it. Each try waits a few
// seconds only: behind a session that waits for an exclusive lock on a table, all others wait too.
// What is no transaction is tried once: it may have done a part.
func (m *migrator) waiting(ctx context.Context, mig migrate.Migration, repeat bool, try func() error) error {
	watch, stop := context.WithCancel(ctx)
	said := make(chan string, 1)
	go func() { said <- m.watch(watch, mig) }()
	err := try()
	for end := time.Now().Add(lockTimeout); repeat && m.lockTimedOut(err) && time.Now().Before(end) &&
		ctx.Err() == nil; err = try() {
		loop.Sleep(ctx, time.Second)
	}
	stop()
	if holder := <-said; m.lockTimedOut(err) {
		return fmt.Errorf("%w: %s (%w)", ErrLocked, holder, err)
	}
	return err
}

// watch logs what the migration waits for and answers what it said last. It asks more often than a
// try lasts.
func (m *migrator) watch(ctx context.Context, mig migrate.Migration) (last string) {
	for loop.Sleep(ctx, 500*time.Millisecond) {
		now, err := m.blockers(ctx)
		if err != nil || now == "" || now == last { // that it cannot be said who waits keeps nothing from going on
			continue
		}
		last = now
		m.log.WarnContext(ctx, "a migration waits for a lock", "migration", mig.String(), "waits_for", now)
	}
	return last
}

func missingTable(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "42P01") || strings.Contains(err.Error(), "no such table"))
}
