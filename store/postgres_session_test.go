package store

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// hostile are defaults that a role may have for another program's sake.
var hostile = map[string]string{
	"default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
	"default_transaction_deferrable": "on",
	"statement_timeout":              "1s", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms",
	"idle_session_timeout": "10s",
	"search_path":          "elsewhere", "datestyle": "SQL, DMY", "timezone": "Asia/Kathmandu",
	"intervalstyle": "sql_standard", "bytea_output": "escape",
	"standard_conforming_strings": "off", "client_encoding": "latin1", "synchronous_commit": "off",
	"array_nulls": "off", "transform_null_equals": "on",
	"extra_float_digits": "-15", "plan_cache_mode": "force_custom_plan", "application_name": "somebody",
}

// as answers url for another role.
func as(t *testing.T, address, role string, query map[string]string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	u.User = url.User(role)
	q := u.Query()
	for name, value := range query {
		q.Set(name, value)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // which PostgreSQL's URLs do not read as a space
	return u.String()
}

func admin(t *testing.T, address string) func(statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func show(t *testing.T, s *Store, setting string) (value string) {
	t.Helper()
	must(t, s.engine.(*postgresEngine).pool.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&value))
	return value
}

func TestTheDefaultsOfARoleChangeNothing(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	do := admin(t, pg.URL)
	do("CREATE ROLE app LOGIN SUPERUSER")
	for name, value := range hostile {
		do("ALTER ROLE app SET " + name + " = '" + value + "'")
	}
	s := newStore(t, as(t, pg.URL, "app", nil))
	everything(t, s)
	contend(t, s)
	for name, want := range map[string]string{
		"application_name": "waybill", "default_transaction_isolation": "read committed",
		"transaction_isolation": "read committed",
		"transaction_read_only": "off", "statement_timeout": "15s", "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "30s",
		"idle_session_timeout":                "0", "search_path": `"$user", public`, "DateStyle": "ISO, MDY",
		"TimeZone": "UTC", "bytea_output": "hex",
		"standard_conforming_strings": "on", "client_encoding": "UTF8", "synchronous_commit": "on",
	} {
		if got := show(t, s, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	odd := submission(func(c *job.Submission) { c.Labels = map[string]string{"a": `back\slash ' quote`} })
	if got := read(t, s, create(t, s, odd)[0].ID).Labels["a"]; got != `back\slash ' quote` {
		t.Errorf("a label came back as %q", got)
	}
}

// contend changes the same jobs from many sides: under another isolation level such changes fail.
func contend(t *testing.T, s *Store) {
	t.Helper()
	jobs := create(t, s, submission(), submission(), submission())
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			j := jobs[i%len(jobs)]
			// Retried by another one meanwhile.
			if _, err := s.Cancel(t.Context(), j.ID); err != nil && job.CodeOf(err) != job.CodeConflict {
				t.Errorf("cancel: %v", err)
			}
			if _, err := s.Retry(t.Context(), j.ID); err != nil && job.CodeOf(err) != job.CodeConflict {
				t.Errorf("retry: %v", err)
			}
			if _, _, err := s.Create(t.Context(), []job.Submission{submission()}); err != nil {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestTheURLMayChangeSettings(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	admin(t, url)("CREATE SCHEMA own")
	s := newStore(
		t,
		as(
			t,
			url,
			"postgres",
			map[string]string{
				"search_path":       "own",
				"statement_timeout": "7s",
				"application_name":  "mine",
				"work_mem":          "5MB",
				"options":           `-c lock_timeout=3s --idle-in-transaction-session-timeout=9s -c timezone=Asia/Kathmandu`,
			},
		),
	)
	for name, want := range map[string]string{"search_path": "own", "statement_timeout": "7s",
		"application_name": "waybill", "work_mem": "5MB",
		"lock_timeout": "3s", "idle_in_transaction_session_timeout": "9s", "TimeZone": "UTC"} {
		if got := show(t, s, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	read(t, s, create(t, s, submission())[0].ID)
	bad, err := Open(
		t.Context(),
		Config{URL: as(t, url, "postgres", map[string]string{"no_such_setting": "1"}), Log: testenv.Logger(t)},
	)
	must(t, err)
	defer bad.Close()
	if err := bad.CheckSessions(t.Context()); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("a setting that PostgreSQL does not know: %v", err)
	}
}

// An operator may make a database read-only. Nothing is written then, and the process says so;
// afterwards no session is left that refuses.
func TestAReadOnlyDatabaseIsWrittenToAsSoonAsItMayBe(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	s := newStore(t, url)
	j := create(t, s, submission())[0]
	do, name := admin(t, url), databaseOf(t, url)
	endSessions := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND " +
		"pid <> pg_backend_pid()"
	do("ALTER DATABASE " + name + " SET default_transaction_read_only = on")
	do(endSessions)
	testenv.Eventually(t, time.Minute, func() bool {
		err := s.Ready(t.Context())
		return errors.Is(err, errReadOnly)
	}, "it is ready, though nothing can be written")
	for range 10 {
		if _, _, err := s.Create(t.Context(), []job.Submission{submission()}); !errors.Is(err, job.ErrUnavailable) {
			t.Errorf("a submission is answered %v", err)
		}
	}
	testenv.EventuallyNoError(
		t,
		time.Minute,
		func() error { return second(s.Job(t.Context(), j.ID)) },
		"reads do not go on",
	)
	do("ALTER DATABASE " + name + " RESET default_transaction_read_only")
	began := time.Now()
	testenv.EventuallyNoError(t, 10*time.Second, func() error { return s.Ready(t.Context()) }, "it is not ready again")
	testenv.Eventually(t, 10*time.Second-time.Since(began), func() bool {
		for range 3 * hotConns {
			if _, _, err := s.Create(t.Context(), []job.Submission{submission()}); err != nil {
				return false
			}
		}
		return true
	}, "submissions still fail")
	contend(t, s)
}

// A role's default is another program's, a server's is an operator's.
func TestReadOnlyForTheWholeServerIsRespectedWhileSessionsLive(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	s := newStore(t, pg.URL)
	create(t, s, submission())
	do := admin(t, pg.URL)
	do("ALTER SYSTEM SET default_transaction_read_only = on")
	do("SELECT pg_reload_conf()")
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return errors.Is(s.Ready(t.Context()), errReadOnly) },
		"it is ready, though nothing can be written",
	)
	if _, _, err := s.Create(t.Context(), []job.Submission{submission()}); !errors.Is(err, job.ErrUnavailable) {
		t.Errorf("a submission is answered %v", err)
	}
	do("SET default_transaction_read_only = off")
	do("ALTER SYSTEM RESET default_transaction_read_only")
	do("SELECT pg_reload_conf()")
	testenv.EventuallyNoError(t, 10*time.Second, func() error {
		_, _, err := s.Create(t.Context(), []job.Submission{submission()})
		return errors.Join(err, s.Ready(t.Context()))
	}, "it does not write again")
}

// A standby that is promoted is written to by the processes that read from it before.
func TestAPromotedStandbyIsWrittenTo(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	s := newStore(t, pg.URL)
	j := create(t, s, submission())[0]
	pg.Stop(testenv.Fast)
	pg.StandBy()
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return errors.Is(s.Ready(t.Context()), errReadOnly) },
		"it is ready, though nothing can be written",
	)
	for range 3 * hotConns {
		if _, _, err := s.Create(t.Context(), []job.Submission{submission()}); !errors.Is(err, job.ErrUnavailable) {
			t.Fatalf("a submission is answered %v", err)
		}
	}
	testenv.EventuallyNoError(
		t,
		time.Minute,
		func() error { return second(s.Job(t.Context(), j.ID)) },
		"it is not read from",
	)
	admin(t, pg.URL)("SELECT pg_promote()")
	testenv.EventuallyNoError(t, 10*time.Second, func() error {
		_, _, err := s.Create(t.Context(), []job.Submission{submission()})
		return errors.Join(err, s.Ready(t.Context()))
	}, "it is not written to")
	contend(t, s)
}

func TestARoleThatMayNotWriteIsNotReady(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	do := admin(t, pg.URL)
	newStore(t, pg.URL)
	do("CREATE ROLE reader LOGIN")
	do("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	s, err := Open(t.Context(), Config{URL: as(t, pg.URL, "reader", nil), Log: testenv.Logger(t)})
	must(t, err)
	defer s.Close()
	if err := s.Ready(t.Context()); !errors.Is(err, errNotAllowed) {
		t.Errorf("it says %v", err)
	}
	do("GRANT ALL ON ALL TABLES IN SCHEMA public TO reader")
	must(t, s.Ready(t.Context()))
}

func databaseOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

// Transactions of other programs do not count, of any role and however long.
func TestForeignTransactionsDoNotHoldTheHorizon(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	s := newStore(t, as(t, url, "postgres", map[string]string{"application_name": "named by the URL"}))
	began, err := s.Now(t.Context())
	must(t, err)
	foreign := admin(t, url)
	foreign("BEGIN ISOLATION LEVEL REPEATABLE READ")
	foreign("SELECT count(*) FROM submissions") // as pg_dump holds its snapshot
	after := func() time.Duration {
		t.Helper()
		settled, err := s.SettledBefore(t.Context())
		must(t, err)
		return settled.Sub(began)
	}
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return after() > 100*time.Millisecond },
		"a foreign transaction holds the horizon",
	)
	tx, err := s.db.BeginTx(t.Context(), nil)
	must(t, err)
	var mine time.Time
	must(t, tx.NewRaw("SELECT now()").Scan(t.Context(), &mine))
	if settled, err := s.SettledBefore(t.Context()); err != nil || settled.After(mine) {
		t.Errorf("a transaction of ours began at %v, and the horizon is %v, %v", mine, settled, err)
	}
	must(t, tx.Rollback())
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return after() > mine.Sub(began) },
		"a transaction that has ended holds the horizon",
	)
}

// Of a session of ours that another role has, PostgreSQL hides when its transaction began: it may
// have begun up to a minute ago.
func TestASessionOfOursThatAnotherRoleHasCountsAsAMinuteOld(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	do := admin(t, pg.URL)
	do("CREATE ROLE one LOGIN")
	do("CREATE ROLE two LOGIN")
	open := func(role string) *Store {
		s, err := Open(t.Context(), Config{URL: as(t, pg.URL, role, nil), Log: testenv.Logger(t)})
		must(t, err)
		t.Cleanup(func() { s.Close() })
		must(t, s.Ping(t.Context()))
		return s
	}
	one := open("one")
	if settled, now := horizonOf(t, one); now.Sub(settled) > 30*time.Second {
		t.Errorf("alone, the horizon is %v behind", now.Sub(settled))
	}
	open("two")
	if settled, now := horizonOf(t, one); now.Sub(settled) < 50*time.Second {
		t.Errorf("beside a session that hides its transactions, the horizon is %v behind", now.Sub(settled))
	}
}

func horizonOf(t *testing.T, s *Store) (settled, now time.Time) {
	t.Helper()
	settled, err := s.SettledBefore(t.Context())
	must(t, err)
	now, err = s.Now(t.Context())
	must(t, err)
	return settled, now
}
