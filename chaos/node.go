package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// node is a process of Waybill. It is started, killed and started again, always with the same
// environment and log.
type node struct {
	name, path, log string
	env             []string
	args            []string

	mu       sync.Mutex
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process was reaped
	expected bool          // its end is our doing
	// onExit is told of every end that was not asked for; may be nil.
	onExit func(n *node, state string)
}

func newNode(name, path, log string, env []string, args ...string) *node {
	return &node{name: name, path: path, log: log, env: env, args: args}
}

func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.path, n.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = n.env, log, log, attributes()
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the kernel takes the death of the thread that forked for ours
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			n.ended(cmd)
		}
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd, n.done, n.expected = cmd, done, false
	return nil
}

func (n *node) ended(cmd *exec.Cmd) {
	n.mu.Lock()
	tell := !n.expected && n.onExit != nil
	n.mu.Unlock()
	if tell {
		n.onExit(n, cmd.ProcessState.String())
	}
}

func (n *node) signal(sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return errors.New(n.name + " was never started")
	}
	if sig != syscall.SIGSTOP && sig != syscall.SIGCONT {
		n.expected = true
	}
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kill ends it as a crash would, and returns when it is gone.
func (n *node) kill() {
	if n.signal(syscall.SIGKILL) == nil {
		<-n.done
	}
}

// stop asks it to end and answers how long it took; one that takes longer than patience is killed,
// which is an error.
func (n *node) stop(patience time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := n.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-n.done:
	case <-time.After(patience):
		_ = n.signal(syscall.SIGQUIT) // its goroutines go to the log
		select {
		case <-n.done:
		case <-time.After(2 * time.Second):
			n.kill()
		}
		return patience, fmt.Errorf("%s did not end within %v of SIGTERM", n.name, patience)
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		return time.Since(began), fmt.Errorf("%s ended with code %d after SIGTERM", n.name, code)
	}
	return time.Since(began), nil
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

func (n *node) logTail() string {
	const most = 6 << 10
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
