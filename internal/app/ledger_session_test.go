package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// Both processes name a pooler that keeps no sessions when they start, rather than fail in odd ways
// later.
func TestAPoolerInTransactionModeStopsTheStart(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t)
	newIdleBench(t, "DATABASE_URL="+database, "REDIS_URL=redis://127.0.0.1:1").migrate()
	pooled := testenv.PgBouncer(t, database, "pool_mode = transaction")
	b := newIdleBench(t, "DATABASE_URL="+pooled, "REDIS_URL="+testenv.Redis(t).URL)
	for name, o := range map[string]app.Options{"api": {API: app.ServeAPI}, "worker": {Worker: true}} {
		if o.API != nil {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o.Listen = l
		}
		a, err := app.New(t.Context(), b.cfg, o, slog.New(slog.DiscardHandler))
		if err == nil {
			err = errors.Join(errors.New("it started"), a.Close())
		}
		if !strings.Contains(err.Error(), "pool_mode") || !strings.Contains(err.Error(), "DATABASE_URL") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := app.OpenStore(t.Context(), b.cfg); !errors.Is(err, store.ErrNoSessions) &&
		(err == nil || !strings.Contains(err.Error(), "pool_mode")) {
		t.Errorf("waybill migrate: %v", err)
	}
}

// migrate brings the bench's database up to date.
func (b *bench) migrate() {
	b.Helper()
	if _, err := b.ledger().Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// Everything runs through PgBouncer in session mode as it does without.
func TestAWholeDeploymentRunsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	b, c := tallied(
		t,
		"DATABASE_URL="+testenv.PgBouncer(t, testenv.Postgres(t), "pool_mode = session"),
		"REDIS_URL="+testenv.Redis(t).URL,
	)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	ids := b.submitMany(200, "")
	b.drained(len(ids), time.Minute)
	c.check(t, ids)
}

// While the database is read-only, API and worker are not ready; afterwards both write again by
// themselves.
func TestReadinessFollowsAReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t)
	b, c := tallied(
		t,
		"DATABASE_URL="+database,
		"REDIS_URL="+testenv.Redis(t).URL,
		fmt.Sprintf("WAYBILL_METRICS_ADDR=127.0.0.1:%d", testenv.FreePort(t)),
	)
	b.startAPI(app.Options{API: app.ServeAPI})
	b.startWorker()
	before := b.submitMany(20, "")
	b.drained(20, time.Minute)
	ready := func(want int) {
		t.Helper()
		for _, addr := range []string{b.addr, b.cfg.MetricsAddr} {
			testenv.EventuallyNoError(
				t,
				30*time.Second,
				func() error { return readyIs(t.Context(), addr, want) },
				"%s",
				addr,
			)
		}
	}
	ready(http.StatusOK)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	conn, name := b.connect(), strings.TrimPrefix(u.Path, "/")
	execute(t, conn, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	execute(
		t,
		conn,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "+
			"pg_backend_pid()",
	)
	ready(http.StatusServiceUnavailable)
	for range 10 {
		b.ask(ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: `{"type":"test.tally","payload":{"n":1}}`}).
			want(b, http.StatusServiceUnavailable)
	}
	execute(t, conn, "ALTER DATABASE "+name+" RESET default_transaction_read_only")
	ready(http.StatusOK)
	client := client(b)
	testenv.EventuallyNoError(t, 10*time.Second, func() error {
		id, err := b.post(client, `{"type":"test.tally","payload":{"n":1}}`)
		if err == nil {
			before = append(before, id)
		}
		return err
	}, "no submission is accepted")
	after := append(before, b.submitMany(100, "")...)
	b.drained(len(after), time.Minute)
	c.check(t, after)
}

func readyIs(ctx context.Context, addr string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}
