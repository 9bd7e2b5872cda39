package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a redis-sentinel that watches one master. Its methods are for one goroutine at a
// time.
type Sentinel struct {
	proc *process
	port int
}

// StartSentinel starts a sentinel for the master at addr, under that name. It takes a master for
// dead that was silent for a second, and together with as many as quorum says promotes a replica.
func StartSentinel(name, addr string, quorum int) (*Sentinel, error) {
	path, err := LookRedis() // the same program, told to be a sentinel
	if err != nil {
		return nil, err
	}
	proc, err := newProcess(path, syscall.SIGKILL, nil)
	if err != nil {
		return nil, err
	}
	s := &Sentinel{proc: proc}
	err = onFreePort(func(port int) error {
		s.port = port
		return s.start(name, addr, quorum)
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sentinel) start(name, addr string, quorum int) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("read the master's address: %w", err)
	}
	conf := filepath.Join(s.proc.dir, "sentinel.conf") // a sentinel writes down there what it learns
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %s %s %s %d\n"+
		"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 5000\n", s.port, s.proc.dir, name,
		host, port, quorum)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the sentinel's configuration: %w", err)
	}
	if err := s.proc.start(conf, "--sentinel"); err != nil {
		return err
	}
	return s.proc.ready(s.probe)
}

// Addr is host:port.
func (s *Sentinel) Addr() string { return address(s.port) }

// Close kills the sentinel and removes all it wrote.
func (s *Sentinel) Close() error { return s.proc.close() }

// probe reports whether this very sentinel answers.
func (s *Sentinel) probe() error {
	c := redis.NewSentinelClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialTimeout: time.Second})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	info := redis.NewStringCmd(ctx, "info", "server")
	if err := c.Process(ctx, info); err != nil {
		return fmt.Errorf("ask who answers: %w", err)
	}
	if !strings.Contains(info.Val(), fmt.Sprintf("process_id:%d\r\n", s.proc.cmd.Process.Pid)) {
		return fmt.Errorf("%s belongs to another server", s.Addr())
	}
	return nil
}
