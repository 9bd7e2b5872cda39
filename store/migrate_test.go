package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv"
)

func exec(t *testing.T, s *Store, statement string, args ...any) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// newerRelease records a migration that this program does not have.
func newerRelease(t *testing.T, s *Store, version string, additive bool) {
	t.Helper()
	exec(t, s, "INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES (?, 99, ?)", version, time.Now())
	if additive {
		exec(t, s, "INSERT INTO migration_details (name, checksum, additive) VALUES (?, 'x', true)", version)
	}
}

func TestNothingIsUndoneBeneathANewerRelease(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		j := create(t, s, submission())[0]
		newerRelease(t, s, "20990101000000", false)
		if undone, err := s.Rollback(t.Context(), true); !errors.Is(err, ErrUnknown) || undone != "" ||
			!strings.Contains(err.Error(), "20990101000000") {
			t.Errorf("down: %q, %v", undone, err)
		}
		if applied, err := s.Migrate(t.Context()); !errors.Is(err, ErrUnknown) || len(applied) != 0 {
			t.Errorf("up: %v, %v", applied, err)
		}
		if err := s.Check(t.Context()); !errors.Is(err, ErrUnknown) {
			t.Errorf("check: %v", err)
		}
		if got := read(t, s, j.ID); got.ID != j.ID {
			t.Error("the job is gone")
		}
	})
}

func TestANewerReleaseThatOnlyAddsIsRunBeside(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		newerRelease(t, s, "20990101000000", true)
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("check: %v", err)
		}
		if applied, err := s.Migrate(t.Context()); err != nil || len(applied) != 0 {
			t.Errorf("up: %v, %v", applied, err)
		}
		if _, err := s.Rollback(t.Context(), true); !errors.Is(err, ErrUnknown) {
			t.Errorf("down: %v", err)
		}
		last := s.newest(t)
		exec(t, s, "DELETE FROM bun_migrations WHERE name = ?", last.version)
		if applied, err := s.Migrate(t.Context()); !errors.Is(err, ErrUnknown) || len(applied) != 0 {
			t.Errorf("up with one that is missing: %v, %v", applied, err)
		}
	})
}

// newest is the last migration that this program knows.
func (s *Store) newest(t *testing.T) Migration {
	t.Helper()
	list, err := s.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(m Migration) bool { return m.Newer })
	return list[len(list)-1]
}

func TestDownUndoesOneMigrationAndUpAppliesItAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		last := s.newest(t)
		if undone, err := s.Rollback(t.Context(), true); err != nil || undone != last.Name {
			t.Fatalf("undid %q, want %q: %v", undone, last.Name, err)
		}
		if err := s.Check(t.Context()); !errors.Is(err, ErrPending) || !strings.Contains(err.Error(), last.Name) {
			t.Errorf("check: %v", err)
		}
		if applied, err := s.Migrate(t.Context()); err != nil || !slices.Equal(applied, []string{last.Name}) {
			t.Errorf("applied %v: %v", applied, err)
		}
		for range s.count(t) {
			if _, err := s.Rollback(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
		if undone, err := s.Rollback(t.Context(), true); err != nil || undone != "" {
			t.Errorf("undid %q of nothing: %v", undone, err)
		}
	})
}

func (s *Store) count(t *testing.T) int {
	t.Helper()
	list, err := s.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestDownDestroysNoRowsUnlessToldTo(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		create(t, s, submission(), submission())
		for range s.count(t) { // the newest first
			_, err := s.Rollback(t.Context(), false)
			var data *DataLossError
			if err == nil {
				continue
			}
			if errors.As(err, &data) &&
				!slices.ContainsFunc(data.Lost, func(l Loss) bool { return l.Table == "submissions" }) {
				_, err = s.Rollback(t.Context(), true) // what every database holds, such as the deployment's id
				must(t, err)
				continue
			}
			if !errors.As(err, &data) || !slices.Contains(data.Lost, Loss{Table: "submissions", Rows: 2}) ||
				!strings.Contains(err.Error(), "2 rows of submissions") {
				t.Fatalf("it says %v", err)
			}
			var jobs int
			if err := s.db.NewSelect().Table("submissions").ColumnExpr("count(*)").Scan(t.Context(),
				&jobs); err != nil ||
				jobs != 2 {
				t.Errorf("%d jobs: %v", jobs, err)
			}
			if _, err := s.Rollback(t.Context(), true); err != nil {
				t.Errorf("told to: %v", err)
			}
			return
		}
		t.Error("everything was undone")
	})
}

func TestAColumnsValuesAreData(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		for s.lastApplied(t) != "20261122120000" {
			if _, err := s.Rollback(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
		exec(t, s, "INSERT INTO queues (name, resumed_at) VALUES ('a', ?), ('b', NULL)", time.Now())
		_, err := s.Rollback(t.Context(), false)
		var data *DataLossError
		if !errors.As(err, &data) ||
			!slices.Equal(data.Lost, []Loss{{Table: "queues", Column: "resumed_at", Rows: 1}}) {
			t.Errorf("it says %v", err)
		}
	})
}

func (s *Store) lastApplied(t *testing.T) (version string) {
	t.Helper()
	list, err := s.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Applied {
			version = m.version
		}
	}
	return version
}

func TestAnEditedMigrationIsNoticed(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		last := s.newest(t)
		exec(t, s, "UPDATE migration_details SET checksum = 'of another text' WHERE name = ?", last.version)
		for what, err := range map[string]error{"check": s.Check(t.Context()), "up": errorOf(s.Migrate(t.Context())),
			"down": errorOf(s.Rollback(t.Context(), true))} {
			if !errors.Is(err, ErrEdited) || !strings.Contains(err.Error(), last.Name) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func errorOf[T any](_ T, err error) error { return err }

func TestADatabaseWithoutChecksumsGetsThemOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		exec(t, s, "DROP TABLE migration_details")
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("before: %v", err)
		}
		if applied, err := s.Migrate(t.Context()); err != nil || len(applied) != 0 {
			t.Errorf("up: %v, %v", applied, err)
		}
		n, err := s.db.NewSelect().Table("migration_details").Count(t.Context())
		if err != nil || int(n) != s.count(t) {
			t.Errorf("%d checksums of %d: %v", n, s.count(t), err)
		}
	})
}

// The limits of requests are not those of a migration.
func TestAMigrationMayTakeAsLongAsItTakes(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	s := newStore(t, withParam(url, "statement_timeout=100ms"))
	err := s.engine.exclusively(t.Context(), s.log, func(ctx context.Context, c schemaConn) error {
		_, err := c.db.ExecContext(ctx, "SELECT pg_sleep(0.5)")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func withParam(url, param string) string {
	if strings.Contains(url, "?") {
		return url + "&" + param
	}
	return url + "?" + param
}

// record is a log that can be read while others write to it.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// A table that is locked is waited for, beyond the time that one try has, and its holder is named
// meanwhile.
func TestAMigrationWaitsForALockAndNamesItsHolder(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	log := new(record)
	s, err := Open(t.Context(), Config{URL: url, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := s.newest(t)
	if _, err := s.Rollback(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	holder, err := pgx.Connect(t.Context(), withParam(url, "application_name=a%20long%20report"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	// What records the migration waits.
	for _, statement := range []string{"BEGIN", "LOCK TABLE bun_migrations IN SHARE MODE"} {
		if _, err := holder.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	applied := make(chan error, 1)
	go func() {
		names, err := s.Migrate(t.Context())
		if err == nil && !slices.Equal(names, []string{last.Name}) {
			err = fmt.Errorf("applied %v", names)
		}
		applied <- err
	}()
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return strings.Count(log.String(), "a migration waits for a lock") >= 1 },
		"it says nothing",
	)
	for _, want := range []string{last.Name, "bun_migrations, held by pid",
		"a long report, idle in transaction since"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("it does not say %q: %s", want, log)
		}
	}
	select {
	case err := <-applied:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(7 * time.Second): // two tries, and more than the limit of requests
	}
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-applied; err != nil {
		t.Error(err)
	}
}
