package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server without password. Its methods are for one goroutine at a time.
type Redis struct {
	proc *process
	port int
	args []string
}

// StartRedis starts a redis-server that keeps nothing on disk unless args (as on its command line:
// "--appendonly", "yes", "--maxmemory", "64mb") say so.
func StartRedis(args ...string) (*Redis, error) { return StartRedisBy(nil, args...) }

// StartRedisBy is StartRedis for a server that goes by a clock of its own; nil: by the machine's.
func StartRedisBy(clock *Clock, args ...string) (*Redis, error) {
	path, err := LookRedis()
	if err != nil {
		return nil, err
	}
	proc, err := newProcess(path, syscall.SIGKILL, nil)
	if err != nil {
		return nil, err
	}
	proc.env = clock.env()
	r := &Redis{proc: proc, args: args}
	err = onFreePort(func(port int) error {
		r.port = port
		return r.Start()
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// URL leads to database 0.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Addr is host:port; it stays the same over Stop and Start.
func (r *Redis) Addr() string { return address(r.port) }

// Dir is where the server writes its files.
func (r *Redis) Dir() string { return r.proc.dir }

// Start starts the server where it was stopped or killed, on the same port and files, and waits
// until it has loaded them and answers.
func (r *Redis) Start() error {
	args := append(
		[]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "--dir", r.proc.dir, "--save", ""},
		r.args...)
	if err := r.proc.start(args...); err != nil {
		return err
	}
	return r.proc.ready(r.probe)
}

// Stop asks the server to end in an orderly way and returns when it is gone; a paused one is
// resumed first.
func (r *Redis) Stop() error {
	if !r.proc.running() {
		return nil
	}
	return errors.Join(r.Resume(), r.proc.stop(syscall.SIGTERM))
}

// Kill ends the server as a crash would.
func (r *Redis) Kill() error { return r.proc.stop(syscall.SIGKILL) }

// Pause stops the server where it stands; connections stay open.
func (r *Redis) Pause() error { return r.proc.signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (r *Redis) Resume() error { return r.proc.signal(syscall.SIGCONT) }

// Close kills the server and removes all it wrote.
func (r *Redis) Close() error { return r.proc.close() }

// probe reports whether this very server answers and has loaded its files.
func (r *Redis) probe() error {
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, DialTimeout: time.Second})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Ping(ctx).Err(); err != nil { // LOADING is an error here, not so with INFO
		return fmt.Errorf("ping: %w", err)
	}
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("ask who answers: %w", err)
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", r.proc.cmd.Process.Pid)) {
		return fmt.Errorf("%s belongs to another server", r.Addr())
	}
	return nil
}
