package command

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv"
)

// database is a migrated one, and a connection to it.
func database(t *testing.T) (environ []string, db *pgx.Conn) {
	t.Helper()
	url := testenv.Postgres(t)
	environ = []string{"DATABASE_URL=" + url}
	if code, _, errs := ends(t, environ, "", "waybill", "migrate", "up"); code != 0 {
		t.Fatal(errs)
	}
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return environ, db
}

func statement(t *testing.T, db *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, db *pgx.Conn, sql string) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const countTables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"

// The release before is put back: it destroys nothing of what it does not know, and says what keeps
// it from running.
func TestAnOldProgramLeavesTheSchemaOfANewReleaseAlone(t *testing.T) {
	t.Parallel()
	environ, db := database(t)
	tables := number(t, db, countTables)
	statement(t, db, "INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('20990101000000', 99, now())")
	redis := "REDIS_URL=" + testenv.Redis(t).URL
	all := append(environ, redis, signingKey, "WAYBILL_ADDR=127.0.0.1:0", "WAYBILL_METRICS_ADDR=127.0.0.1:0")
	for _, command := range [][]string{
		{"waybill", "migrate", "down"}, {"waybill", "migrate", "down", "--destroy-data"}, {"waybill", "migrate", "up"},
		{"api"}, {"worker"},
	} {
		code, out, errs := ends(t, all, "", command[0], command[1:]...)
		if code != 1 || out != "" || !strings.Contains(errs, "20990101000000") ||
			!strings.Contains(errs, "older than the schema") {
			t.Errorf("%v: exit code %d: %s%s", command, code, out, errs)
		}
	}
	if n := number(t, db, countTables); n != tables {
		t.Errorf("%d tables are left of %d", n, tables)
	}
	if code, out, _ := ends(t, environ, "", "waybill", "migrate", "status"); code != 0 ||
		!strings.Contains(out, "newer    20990101000000 (") {
		t.Errorf("status: exit code %d: %s", code, out)
	}
}

// Where the new release only adds, the one before runs on its schema, and nothing has to be undone.
func TestAnOldProgramRunsBesideANewReleaseThatOnlyAdds(t *testing.T) {
	t.Parallel()
	environ, db := database(t)
	statement(t, db, "INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('20990101000000', 0, now())")
	statement(t, db, "INSERT INTO migration_details (name, checksum, additive) VALUES ('20990101000000', 'x', true)")
	statement(t, db, "ALTER TABLE open_jobs ADD COLUMN of_a_new_release int")
	code, out, errs := ends(t, environ, "", "waybill", "migrate", "up")
	if code != 0 || !strings.Contains(out, "newer release, which this one can run beside (20990101000000)") {
		t.Errorf("up: exit code %d: %s%s", code, out, errs)
	}
	worker := exec.Command(program(t, "worker"))
	logs, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	worker.Env = append(environ, "REDIS_URL="+testenv.Redis(t).URL, "WAYBILL_METRICS_ADDR=127.0.0.1:0")
	worker.Stderr = logs
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Process.Kill(); _ = worker.Wait() }()
	testenv.EventuallyNoError(t, startPatience, func() error {
		var n int
		return db.QueryRow(t.Context(), "SELECT 1 FROM workers").Scan(&n)
	}, "the worker does not run")
}

func TestDownUndoesOneMigrationAndNoneThatHoldsData(t *testing.T) {
	t.Parallel()
	environ, db := database(t)
	if code, out, errs := ends(t, environ, "", "waybill", "admin", "create", "--email", "root@example.com"); code != 0 {
		t.Fatal(out, errs)
	}
	for undone := 0; ; undone++ {
		code, out, errs := ends(t, environ, "", "waybill", "migrate", "down")
		if code == 0 && strings.Count(out, "undone ") == 1 && strings.Count(out, "\n") == 1 {
			continue
		}
		if code == 1 && strings.Contains(errs, "1 rows of deployment ") { // which every database has
			if code, out, errs := ends(t, environ, "", "waybill", "migrate", "down", "--destroy-data"); code != 0 {
				t.Fatal(out, errs)
			}
			continue
		}
		if code != 1 || out != "" || undone == 0 || !strings.Contains(errs, "1 rows of users") ||
			!strings.Contains(errs, "--destroy-data") {
			t.Errorf("after %d: exit code %d: %s%s", undone, code, out, errs)
		}
		break
	}
	if n := number(t, db, "SELECT count(*) FROM users"); n != 1 {
		t.Errorf("%d users are left", n)
	}
	if code, out, errs := ends(t, environ, "", "waybill", "migrate", "down", "--destroy-data"); code != 0 ||
		strings.Count(out, "undone ") != 1 {
		t.Errorf("told to: exit code %d: %s%s", code, out, errs)
	}
	if code, out, errs := ends(t, environ, "", "waybill", "migrate", "up"); code != 0 ||
		!strings.Contains(out, "applied ") {
		t.Errorf("up again: exit code %d: %s%s", code, out, errs)
	}
}

// A migration meets a table that is in use: the command says who has it, waits, and calls nothing
// applied that is not.
func TestMigrateUpSaysWhoHoldsTheLockThatItWaitsFor(t *testing.T) {
	t.Parallel()
	environ, db := database(t)
	if code, _, errs := ends(t, environ, "", "waybill", "migrate", "down", "--destroy-data"); code != 0 {
		t.Fatal(errs)
	}
	statement(t, db, "SET application_name = 'a long report'")
	statement(t, db, "BEGIN")
	statement(t, db, "LOCK TABLE bun_migrations IN SHARE MODE")
	up := exec.Command(program(t, "waybill"), "migrate", "up")
	up.Env = environ
	var out, errs output
	up.Stdout, up.Stderr = &out, &errs
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = up.Process.Kill() }()
	testenv.Eventually(
		t,
		startPatience,
		func() bool { return strings.Contains(errs.String(), "a long report") },
		"it does not name the holder",
	)
	if !strings.Contains(errs.String(), "bun_migrations, held by pid") || out.String() != "" {
		t.Errorf("it says %s%s", out.String(), errs.String())
	}
	time.Sleep(6 * time.Second) // longer than any request may wait
	statement(t, db, "COMMIT")
	if err := up.Wait(); err != nil || strings.Count(out.String(), "applied ") != 1 {
		t.Errorf("%v: %s%s", err, out.String(), errs.String())
	}
}

// output is what a process wrote so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
