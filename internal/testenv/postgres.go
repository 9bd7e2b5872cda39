package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv/server"
)

// adminVariable names a running server for tests to share: the URL of a user who may create
// databases.
const adminVariable = "WAYBILL_TEST_DATABASE_URL"

// shared is the one server of this test process. It is never closed: it ends with the process (see
// package server).
var shared = sync.OnceValues(func() (string, error) {
	s, err := server.StartPostgres()
	if err != nil {
		return "", err
	}
	return s.URL(), nil
})

// Postgres is the URL of a fresh, empty database, which is dropped when the test ends, connections
// and all.
func Postgres(t testing.TB) string {
	t.Helper()
	admin, err := adminURL()
	if err != nil {
		t.Fatal(err)
	}
	name := "waybill_test_" + strings.ToLower(rand.Text()[:12])
	// template0 has what PostgreSQL ships, without what was added to template1.
	if err := execute(admin, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return withDatabase(admin, name)
}

func adminURL() (*url.URL, error) {
	text, from := os.Getenv(adminVariable), adminVariable
	if text == "" {
		var err error
		if text, err = shared(); err != nil {
			return nil, err
		}
		from = "own server"
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("%s: want postgres://user@host:port/database", from)
	}
	return u, nil
}

func withDatabase(admin *url.URL, name string) string {
	u := *admin
	u.Path = "/" + name
	return u.String()
}

func execute(admin *url.URL, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin.String())
	if err != nil {
		return fmt.Errorf("connect to the tests' PostgreSQL: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// How PGServer.Stop stops the server.
const (
	Fast      = server.Fast
	Immediate = server.Immediate
)

// PGServer is a PostgreSQL server that one test has for itself, to stop and pause. Each method ends
// the test if it fails; call them from one goroutine at a time.
type PGServer struct {
	URL  string // of an empty database, as superuser
	Addr string // host:port; the same over Stop and Start

	t testing.TB
	s *server.Postgres
}

// PostgresServer starts a server for this test alone, gone when the test ends. Settings are lines
// of postgresql.conf, like "fsync=on"; without that one it does not sync.
func PostgresServer(t testing.TB, settings ...string) *PGServer {
	t.Helper()
	s, err := server.StartPostgres(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, s.Close()) })
	return &PGServer{URL: s.URL(), Addr: s.Addr(), t: t, s: s}
}

// Stop returns when the server is gone: Fast rolls back and writes all to disk, Immediate is a
// crash.
func (p *PGServer) Stop(mode server.StopMode) { p.t.Helper(); must(p.t, p.s.Stop(mode)) }

// Start returns when the server answers again, at the same address.
func (p *PGServer) Start() { p.t.Helper(); must(p.t, p.s.Start()) }

// StandBy is Start as a standby without a primary: it can be read, and written to after
// pg_promote().
func (p *PGServer) StandBy() { p.t.Helper(); must(p.t, p.s.StandBy()) }

// Pause freezes the server and all its sessions; connections stay open and are not answered.
func (p *PGServer) Pause() { p.t.Helper(); must(p.t, p.s.Pause()) }

// Resume undoes Pause.
func (p *PGServer) Resume() { p.t.Helper(); must(p.t, p.s.Resume()) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// report is must for cleanups, where later ones shall run all the same.
func report(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
