package proxy

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

func link(t *testing.T, target string, p Protocol) *Link {
	t.Helper()
	l, err := New(target, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestAReplyIsLostAfterTheCommandRan(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	l := link(t, server.Addr, Redis)
	c := redis.NewClient(&redis.Options{Addr: l.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	l.Watch(func(e Event) Verdict { return Verdict{Cut: e.Moment == Answered && e.What == "INCR"} })
	if err := c.Incr(t.Context(), "n").Err(); err == nil {
		t.Error("the reply arrived")
	}
	l.Watch(nil)
	if n, err := c.Get(t.Context(), "n").Int(); err != nil || n != 1 {
		t.Errorf("the command ran %d times, %v", n, err)
	}
}

func TestAnAnswerOfPostgresIsLostAfterTheCommit(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	l := link(t, server.Addr, Postgres)
	url := strings.Replace(server.URL, server.Addr, l.Addr(), 1)
	run := func(sql string, args ...any) error {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = conn.Exec(t.Context(), sql, args...)
		return err
	}
	if err := run("CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Bool
	l.Watch(func(e Event) Verdict {
		hit := strings.HasPrefix(e.What, "INSERT")
		asked.Store(asked.Load() || hit && e.Moment == Asked)
		return Verdict{Cut: hit && e.Moment == Answered}
	})
	if err := run("INSERT INTO kept VALUES ($1)", 1); err == nil || !asked.Load() {
		t.Errorf("the answer arrived: %v; seen on its way: %v", err, asked.Load())
	}
	l.Watch(nil)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v: it was committed", n, err)
	}
}

func TestALinkIsSilentAndSlowAndRefusesAsTold(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	l := link(t, server.Addr, Redis)
	c := redis.NewClient(&redis.Options{Addr: l.Addr(), MaxRetries: -1, ReadTimeout: 300 * time.Millisecond})
	t.Cleanup(func() { _ = c.Close() })
	l.Delay(50 * time.Millisecond)
	began := time.Now()
	if err := c.Ping(t.Context()).Err(); err != nil || time.Since(began) < 100*time.Millisecond {
		t.Errorf("answered after %v, %v: both ways take 50 ms", time.Since(began), err)
	}
	l.Delay(0)
	l.Silence(true)
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a silent link answered")
	}
	l.Silence(false)
	testenv.EventuallyNoError(t, 10*time.Second, func() error { return c.Ping(t.Context()).Err() }, "it speaks again")
	l.Refuse(true)
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a refusing link answered")
	}
	l.Refuse(false)
	testenv.EventuallyNoError(t, 10*time.Second, func() error { return c.Ping(t.Context()).Err() }, "it is there again")
}
