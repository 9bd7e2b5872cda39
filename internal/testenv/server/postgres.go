package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// StopMode is how a PostgreSQL server is stopped.
type StopMode int

const (
	Fast      StopMode = iota // sessions are cut, transactions rolled back, a checkpoint written
	Immediate                 // as in a crash: the next start recovers from the log
)

// maxSocketDir is the longest directory in which a Unix socket's name still fits (107 bytes on
// Linux, 103 elsewhere).
const maxSocketDir = 80

// Postgres is a PostgreSQL server with one superuser, "postgres", who needs no password. Its
// methods are for one goroutine at a time.
type Postgres struct {
	proc     *process
	port     int
	settings []string
}

// StartPostgres makes a new cluster and starts a server on it. Each setting is a line of
// postgresql.conf, like "fsync=on"; it overrides what suits most tests: fsync off, 300 connections.
func StartPostgres(settings ...string) (*Postgres, error) { return StartPostgresBy(nil, settings...) }

// StartPostgresBy is StartPostgres for a server that goes by a clock of its own; nil: by the
// machine's.
func StartPostgresBy(clock *Clock, settings ...string) (*Postgres, error) {
	bin, err := lookPostgres()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	// SIGQUIT is the immediate shutdown, which leaves no children behind as SIGKILL would.
	proc, err := newProcess(filepath.Join(bin, "postgres"), syscall.SIGQUIT, cred)
	if err != nil {
		return nil, err
	}
	proc.env = clock.env()
	p := &Postgres{proc: proc, settings: settings}
	if err := p.init(filepath.Join(bin, "initdb")); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	err = onFreePort(func(port int) error {
		p.port = port
		return p.Start()
	})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// URL leads to the database "postgres", which is empty at first.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", p.Addr())
}

// Addr is host:port.
func (p *Postgres) Addr() string { return address(p.port) }

// Start starts the server where it was stopped and waits until it answers.
func (p *Postgres) Start() error {
	if err := p.proc.start(p.args()...); err != nil {
		return err
	}
	return p.proc.ready(p.probe)
}

// StandBy starts the server where it was stopped as a standby without a primary: it can be read,
// and written to after pg_promote().
func (p *Postgres) StandBy() error {
	if err := os.WriteFile(filepath.Join(p.data(), "standby.signal"), nil, 0o644); err != nil {
		return fmt.Errorf("make it a standby: %w", err)
	}
	if c := p.proc.cred; c != nil {
		if err := os.Chown(filepath.Join(p.data(), "standby.signal"), int(c.Uid), int(c.Gid)); err != nil {
			return fmt.Errorf("make it a standby: %w", err)
		}
	}
	return p.Start()
}

// Stop returns when the server is gone. Stopping a server that does not run is no error; a paused
// one is resumed first.
func (p *Postgres) Stop(mode StopMode) error {
	if !p.proc.running() {
		return nil
	}
	sig := syscall.SIGINT
	if mode == Immediate {
		sig = syscall.SIGQUIT
	}
	return errors.Join(p.Resume(), p.proc.stop(sig))
}

// Pause stops the server and all its sessions where they stand; connections stay open, and new ones
// are taken by the kernel but not answered.
func (p *Postgres) Pause() error {
	// The postmaster first: while it stands still it starts no more children.
	return errors.Join(p.proc.signal(syscall.SIGSTOP), p.signalChildren(syscall.SIGSTOP))
}

// Resume undoes Pause.
func (p *Postgres) Resume() error {
	return errors.Join(p.signalChildren(syscall.SIGCONT), p.proc.signal(syscall.SIGCONT))
}

// Close stops the server at once and removes all it wrote.
func (p *Postgres) Close() error {
	return errors.Join(p.Stop(Immediate), p.proc.close())
}

func (p *Postgres) signalChildren(sig syscall.Signal) error {
	pids, err := children(p.proc.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %v to process %d of postgres: %w", sig, pid, err)
		}
	}
	return nil
}

func (p *Postgres) data() string { return filepath.Join(p.proc.dir, "data") }

func (p *Postgres) init(initdb string) error {
	runtime.LockOSThread() // see process.start
	defer runtime.UnlockOSThread()
	cmd := exec.Command(
		initdb,
		"-D",
		p.data(),
		"-U",
		"postgres",
		"-A",
		"trust",
		"-E",
		"UTF8",
		"--locale=C",
		"--no-sync",
	)
	cmd.Dir, cmd.Env = p.proc.dir, environ()
	cmd.SysProcAttr = attributes(p.proc.cred, syscall.SIGKILL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w; it said:\n%s", err, out)
	}
	return nil
}

func (p *Postgres) args() []string {
	sockets := p.proc.dir
	if len(sockets) > maxSocketDir {
		sockets = ""
	}
	settings := append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(p.port), "unix_socket_directories=" + sockets,
		"max_connections=300", "fsync=off", "full_page_writes=off",
	}, p.settings...)
	args := []string{"-D", p.data()}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// probe reports whether this very server answers, not another one that was quicker to take the
// port.
func (p *Postgres) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(ctx)
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return fmt.Errorf("ask for data directory: %w", err)
	}
	if data != p.data() {
		return fmt.Errorf("%s belongs to the server of %s", p.Addr(), data)
	}
	return nil
}
