package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncer is a PgBouncer before one PostgreSQL database, which accepts every user name.
type PgBouncer struct {
	proc   *process
	port   int
	target *url.URL
}

// StartPgBouncer starts one before the database at target. Each setting is a line of its
// configuration, like "pool_mode = session".
func StartPgBouncer(target string, settings ...string) (*PgBouncer, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	path, err := lookPgBouncer()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged() // it refuses to be root too
	if err != nil {
		return nil, err
	}
	proc, err := newProcess(path, syscall.SIGKILL, cred)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{proc: proc, target: u}
	err = onFreePort(func(port int) error {
		b.port = port
		if err := b.configure(settings); err != nil {
			return err
		}
		if err := proc.start(b.config()); err != nil {
			return err
		}
		return proc.ready(b.probe)
	})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// URL leads through it to the database.
func (b *PgBouncer) URL() string {
	u := *b.target
	u.Host = address(b.port)
	return u.String()
}

// Addr is the host and port where it listens.
func (b *PgBouncer) Addr() string { return address(b.port) }

// Close ends it at once.
func (b *PgBouncer) Close() error { return b.proc.close() }

func (b *PgBouncer) config() string { return filepath.Join(b.proc.dir, "pgbouncer.ini") }

func (b *PgBouncer) configure(settings []string) error {
	lines := append([]string{
		"[databases]", fmt.Sprintf("* = host=%s port=%s", b.target.Hostname(), b.target.Port()),
		"[pgbouncer]", "listen_addr = 127.0.0.1", fmt.Sprint("listen_port = ", b.port), "unix_socket_dir =",
		"auth_type = any",
		"max_client_conn = 500", "default_pool_size = 100",
	}, settings...)
	// With auth_type = any a user must be forced.
	lines[1] += " user=" + b.target.User.Username()
	return os.WriteFile(b.config(), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

func (b *PgBouncer) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.ParseConfig(b.URL())
	if err != nil {
		return err
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

// lookPgBouncer finds it on PATH, or where Debian puts what an administrator runs.
func lookPgBouncer() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	if path := "/usr/sbin/pgbouncer"; executable(path) {
		return path, nil
	}
	return "", missing("pgbouncer", "pgbouncer", "pgbouncer")
}
