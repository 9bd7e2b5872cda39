package testenv_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func TestEachTestGetsAnEmptyDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a, b := testenv.Postgres(t), testenv.Postgres(t)
	if _, err := connect(t, a).Exec(t.Context(), "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	var tables int
	if err := connect(t, b).QueryRow(t.Context(),
		"SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil {
		t.Fatal(err)
	}
	if tables != 0 {
		t.Errorf("the other database has %d tables, want none", tables)
	}
}

func TestADatabaseIsDroppedWithItsTestAlthoughAConnectionIsOpen(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("inner", func(t *testing.T) {
		url = testenv.Postgres(t)
		if _, err := pgx.Connect(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	})
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database is still there")
	}
}

func TestAPrivatePostgresKeepsItsDataOverAStopAndAStart(t *testing.T) {
	t.Parallel()
	p := testenv.PostgresServer(t, "fsync=on", "max_connections=17")
	conn := connect(t, p.URL)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
	p.Stop(testenv.Immediate)
	if _, err := pgx.Connect(t.Context(), p.URL); err == nil {
		t.Error("a stopped server answers")
	}
	p.Start()
	conn = connect(t, p.URL)
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 42 {
		t.Errorf("got %d, %v, want 42", n, err)
	}
	var fsync, most string
	if err := conn.QueryRow(t.Context(),
		"SELECT current_setting('fsync'), current_setting('max_connections')").Scan(&fsync, &most); err != nil {
		t.Fatal(err)
	}
	if fsync != "on" || most != "17" {
		t.Errorf("fsync %s, max_connections %s, want the settings asked for: on, 17", fsync, most)
	}
	p.Stop(testenv.Fast)
}

func TestAPausedPostgresDoesNotAnswerUntilItIsResumed(t *testing.T) {
	t.Parallel()
	p := testenv.PostgresServer(t)
	conn := connect(t, p.URL)
	p.Pause()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	p.Resume()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("after Resume: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("no answer after Resume")
	}
}

func TestAPausedServerCanBeStopped(t *testing.T) {
	t.Parallel()
	p, r := testenv.PostgresServer(t), testenv.Redis(t)
	connect(t, p.URL)
	p.Pause()
	r.Pause()
	p.Stop(testenv.Fast)
	r.Stop()
}

func TestRedisWithAnAppendOnlyFileKeepsItsDataOverAKill(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	c := r.Client(t)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	if err := c.Get(t.Context(), "k").Err(); err == nil {
		t.Error("a killed server answers")
	}
	r.Start()
	if got := c.Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q, want the value written before the kill", got)
	}
}

func TestRedisWithoutAFileStartsEmpty(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	c := r.Client(t)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	r.Start()
	if n := c.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys after a restart, want none", n)
	}
}

func TestRedisIsGoneWithItsTest(t *testing.T) {
	t.Parallel()
	var addr, dir string
	t.Run("inner", func(t *testing.T) {
		r := testenv.Redis(t)
		r.Pause() // the worst case: it cannot answer a request to stop
		addr, dir = r.Addr, r.Dir
	})
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("somebody still listens")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory: %v, want it removed", err)
	}
}

// endedTest is a test that ends when its cleanups are called, and whose log is closed then.
type endedTest struct {
	testing.TB
	out      bytes.Buffer
	cleanups []func()
}

func (e *endedTest) Output() io.Writer { return &e.out }
func (e *endedTest) Cleanup(f func())  { e.cleanups = append(e.cleanups, f) }

func TestALoggerMayBeUsedAfterItsTest(t *testing.T) {
	t.Parallel()
	inner := &endedTest{TB: t}
	log := testenv.Logger(inner)
	log.Debug("in time")
	for _, f := range inner.cleanups {
		f()
	}
	log.Info("too late")
	if got := inner.out.String(); !strings.Contains(got, "in time") || strings.Contains(got, "too late") {
		t.Errorf("logged %q, want what came before the end only", got)
	}
}

func TestEventuallyWaitsUntilTheCheckSucceeds(t *testing.T) {
	t.Parallel()
	calls := 0
	testenv.Eventually(t, 10*time.Second, func() bool { calls++; return calls == 3 }, "three calls")
	testenv.EventuallyNoError(t, 10*time.Second, func() error {
		if calls++; calls < 6 {
			return errors.New("too few")
		}
		return nil
	}, "six calls")
}
