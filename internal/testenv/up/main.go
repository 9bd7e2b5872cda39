// Command up runs a command, usually go test, beside a PostgreSQL server that all its test
// processes share:
//
//	go run ./internal/testenv/up -- go test ./...
//
// The server's URL is in WAYBILL_TEST_DATABASE_URL; where that is set already, it is left as it is
// and nothing is started. It answers with the command's exit code (128 + n where signal n ended
// it), passes signals on, and leaves no server behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/testenv/server"
)

const variable = "WAYBILL_TEST_DATABASE_URL"

func main() {
	// Where the kernel ties a child's life to its parent's, the parent is the thread that forked:
	// keep that one.
	runtime.LockOSThread()
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 2, errors.New("usage: up -- COMMAND [ARGUMENT ...]")
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if _, err := server.LookRedis(); err != nil {
		return 1, err
	}
	env := os.Environ()
	if os.Getenv(variable) == "" {
		pg, err := server.StartPostgres()
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, pg.Close()) }()
		env = append(env, variable+"="+pg.URL())
	}
	return execute(args, env, signals)
}

// execute runs the command in a process group of its own, so that each signal reaches it and its
// children once: through us.
func execute(args, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start command: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go pass(ctx, signals, cmd.Process.Pid)
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("wait for command: %w", err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// pass sends each signal on to the command's process group. `go run` dies of a SIGTERM without
// telling us: we are given another parent then, and pass on the SIGTERM that was meant.
func pass(ctx context.Context, signals <-chan os.Signal, pid int) {
	parent := os.Getppid()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if sig, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(-pid, sig) // gone already: fine
			}
		case <-tick.C:
			if now := os.Getppid(); now != parent {
				parent = now
				_ = syscall.Kill(-pid, syscall.SIGTERM)
			}
		}
	}
}
