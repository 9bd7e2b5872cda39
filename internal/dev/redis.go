package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// startRedis gives the process a Redis of its own and answers its URL: a private redis-server where
// one is on PATH, reached by a socket in the data folder and gone with this process, else one
// inside the process. Either may forget everything: the ledger does not.
func startRedis(ctx context.Context, dir string) (url, kind string, stop func(), err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return startMiniredis()
	}
	socket := filepath.Join(dir, "redis.sock")
	if len(socket) > 100 { // the kernel's limit on a socket's path is 108 bytes
		return startMiniredis()
	}
	url = "unix://" + socket
	if err := endLeftover(ctx, url); err != nil {
		return "", "", nil, err
	}
	_ = os.Remove(socket)
	cmd := exec.Command(
		program,
		"--port",
		"0",
		"--unixsocket",
		socket,
		"--unixsocketperm",
		"700",
		"--dir",
		dir,
		"--appendonly",
		"yes",
		"--appenddirname",
		"redis",
		"--save",
		"",
		"--maxmemory-policy",
		"noeviction",
		"--loglevel",
		"warning",
	)
	dieWithParent(cmd)
	if err := startOnOwnThread(cmd); err != nil {
		return "", "", nil, fmt.Errorf("start redis-server: %w", err)
	}
	stop = func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }
	if !answers(ctx, url, 10*time.Second) {
		stop()
		return "", "", nil, fmt.Errorf("redis-server does not answer on %s", socket)
	}
	return url, "redis-server", stop, nil
}

// endLeftover ends the server of a process that was killed, which may be about to end by itself or
// live on: two servers would write to one file. Its data stays. The data folder is locked, so that
// the server belongs to no living process.
func endLeftover(ctx context.Context, url string) error {
	if !answers(ctx, url, 0) {
		return nil
	}
	opt, err := redis.ParseURL(url)
	if err != nil {
		return fmt.Errorf("end the last redis-server: %w", err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	for end := time.Now().Add(leftoverTimeout); time.Now().Before(end) &&
		ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		_ = c.Shutdown(ctx).Err() // that it cuts the connection is the answer
		if c.Ping(ctx).Err() != nil {
			return nil
		}
	}
	return errors.New("the redis-server of the last run does not end: its process must be killed")
}

// leftoverTimeout is long enough to write a large append-only file to disk.
const leftoverTimeout = 20 * time.Second

// startOnOwnThread starts a child from a thread that lives as long as the process: the kernel sends
// the child its signal when the thread that started it ends, not the process.
func startOnOwnThread(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- cmd.Start()
		select {}
	}()
	return <-started
}

func startMiniredis() (url, kind string, stop func(), err error) {
	m, err := miniredis.Run()
	if err != nil {
		return "", "", nil, fmt.Errorf("start the built-in Redis: %w", err)
	}
	m.Server().SetPreHook(newRedisInfo(m.Server()).answer)
	return "redis://" + m.Addr(), "built-in", m.Close, nil
}

func answers(ctx context.Context, url string, patience time.Duration) bool {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return false
	}
	c := redis.NewClient(opt)
	defer c.Close()
	for end := time.Now().Add(patience); ; {
		if c.Ping(ctx).Err() == nil {
			return true
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}
