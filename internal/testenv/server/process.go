// Package server starts real PostgreSQL and Redis servers for tests: each in a temporary directory
// of its own, reachable on 127.0.0.1 only, and gone when the process that started it is gone,
// however that process ended.
package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second // generous: a machine that also compiles is slow
	stopTimeout  = 30 * time.Second
)

// process is one run after another of the same server program in the same directory. Its methods
// are for one goroutine at a time.
type process struct {
	path string
	dir  string              // holds all that the server writes
	cred *syscall.Credential // nil: as who we are
	// end is the signal that ends the program at once and with it all its children. The kernel
	// sends it (on Linux) when this process dies, and so does the watchdog.
	end syscall.Signal

	env   []string // beside what every server gets
	watch *watchdog
	cmd   *exec.Cmd
	done  chan struct{} // closed when cmd was reaped; nil: never started
}

// newProcess makes the directory, owned by the user that the program will run as, and sets the
// watchdog over it.
func newProcess(path string, end syscall.Signal, cred *syscall.Credential) (*process, error) {
	dir, err := os.MkdirTemp("", "waybill-"+filepath.Base(path)+"-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	watch, err := watchOver(dir, end)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p := &process{path: path, dir: dir, cred: cred, end: end, watch: watch}
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, errors.Join(fmt.Errorf("hand over directory: %w", err), p.close())
		}
	}
	return p, nil
}

// start runs the program; its output goes to the end of the log file.
func (p *process) start(args ...string) error {
	if p.running() {
		return fmt.Errorf("%s runs already", filepath.Base(p.path))
	}
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, append(environ(), p.env...), log, log
	cmd.SysProcAttr = attributes(p.cred, p.end)
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel takes the death of the thread that forked for the death of the parent, so this
		// thread is kept for as long as the child lives.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		runtime.KeepAlive(p.watch) // collected, it would let go of the leash and so end a server that nothing refers to
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	p.cmd, p.done = cmd, done
	return os.WriteFile(p.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
}

// ready waits until probe succeeds; it gives up when the program has ended or after startTimeout.
func (p *process) ready(probe func() error) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf(
				"%s ended while starting (%v); its log ends:\n%s",
				filepath.Base(p.path),
				p.cmd.ProcessState,
				p.logTail(),
			)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf(
				"%s was not ready after %v: %w; its log ends:\n%s",
				filepath.Base(p.path),
				startTimeout,
				err,
				p.logTail(),
			)
		}
	}
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("%s does not run", filepath.Base(p.path))
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s: %w", sig, filepath.Base(p.path), err)
	}
	return nil
}

// stop sends sig and waits until the program has ended. A program that takes longer than
// stopTimeout is killed, which is an error. Stopping what does not run is none.
func (p *process) stop(sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := p.signal(sig); err != nil {
		return err
	}
	var late error
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		late = fmt.Errorf(
			"%s did not end within %v of %v; its log ends:\n%s",
			filepath.Base(p.path),
			stopTimeout,
			sig,
			p.logTail(),
		)
		if err := p.signal(p.end); err != nil {
			return errors.Join(late, err)
		}
		<-p.done
	}
	// From here on the number may belong to another process.
	return errors.Join(late, os.Remove(p.pidFile()))
}

// close ends the program, whatever it does, and removes its directory.
func (p *process) close() error {
	return errors.Join(p.stop(p.end), p.watch.close())
}

func (p *process) log() string     { return filepath.Join(p.dir, "log") }
func (p *process) pidFile() string { return filepath.Join(p.dir, "pid") }

func (p *process) logTail() string {
	const most = 4 << 10
	text, err := os.ReadFile(p.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
