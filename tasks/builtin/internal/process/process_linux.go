package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supported reports whether Run works on this system.
const Supported = true

// drainTime is for output that still lies in the pipes when every process of the group is dead.
// Only a process that left the group can keep them open longer, and is not waited for.
const drainTime = 250 * time.Millisecond

// Run starts c as the leader of a process group of its own and waits for it. When ctx ends the
// group gets SIGTERM, and SIGKILL after c.Grace. When the leader ends, by itself or not, what is
// left of the group is killed: no child survives Run, except one that moved to another session or
// group (setsid), which no signal to the group can reach.
//
// The leader also dies with this process (PR_SET_PDEATHSIG). The kernel means by that the *thread*
// that started it, so Run keeps to one thread until the leader is gone; the Go runtime ends no
// thread that a living goroutine is locked to.
//
// The program gains no privileges by its file (PR_SET_NO_NEW_PRIVS: setuid bits and file
// capabilities have no effect), and cannot read the memory of other processes, though it be root.
//
// The error wraps the start's failure, or the cause of ctx's end where that stopped the program.
func Run(ctx context.Context, c Command) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := restrictThread(); err != nil {
		return Result{}, err
	}
	cmd := &exec.Cmd{Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: c.Dir,
		Stdin: strings.NewReader(c.Stdin), WaitDelay: drainTime,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: c.User.credential()}}
	out, err := capture(cmd, c.Keep)
	if err != nil {
		return Result{}, err
	}
	defer out.close()
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("start the program: %w", err)
	}
	out.start()
	stopped := supervise(ctx, cmd.Process.Pid, out.done, c.Grace)
	out.drain()
	err = cmd.Wait()
	if stopped {
		return Result{}, fmt.Errorf("the program was stopped: %w", context.Cause(ctx))
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return Result{}, fmt.Errorf("wait for the program: %w", err)
	}
	return result(cmd.ProcessState, out), nil
}

// supervise returns when the leader is dead and the group with it. It does not reap the leader: as
// long as that is a zombie, its pid names this group and no other, so that no signal can hit a
// stranger. done closes when all output has ended, which is when the leader's children are gone
// too.
func supervise(ctx context.Context, pid int, done <-chan struct{}, grace time.Duration) (stopped bool) {
	exited, gone := make(chan struct{}), make(chan struct{})
	go func() {
		awaitExit(pid)
		close(exited)
		<-done
		close(gone)
	}()
	select {
	case <-exited:
	case <-ctx.Done():
		stopped = true
		_ = syscall.Kill(-pid, syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(grace):
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL) // ESRCH cannot be: the leader is there, alive or as a zombie
	<-exited
	return stopped
}

// awaitExit blocks until pid has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func result(state *os.ProcessState, out *output) Result {
	r := Result{ExitCode: state.ExitCode(), Stdout: out.text(0), Stderr: out.text(1)}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		r.Signal = status.Signal().String()
	}
	return r
}

// output is what a program says: stdout and stderr, each read by a goroutine from a pipe.
type output struct {
	reads, writes [2]*os.File
	clips         [2]*clip
	done          chan struct{} // closed when both pipes have ended
}

func capture(cmd *exec.Cmd, keep int) (*output, error) {
	o := &output{clips: [2]*clip{newClip(keep), newClip(keep)}, done: make(chan struct{})}
	for i := range o.reads {
		var err error
		if o.reads[i], o.writes[i], err = os.Pipe(); err != nil {
			o.close()
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
	}
	cmd.Stdout, cmd.Stderr = o.writes[0], o.writes[1]
	return o, nil
}

// start reads, once the program has its own copies of the writing ends.
func (o *output) start() {
	var copies sync.WaitGroup
	for i := range o.reads {
		o.writes[i].Close()
		copies.Go(func() { _, _ = io.Copy(o.clips[i], o.reads[i]) })
	}
	go func() {
		copies.Wait()
		close(o.done)
	}()
}

// drain waits for the end of the output, drainTime at most, and then ends it.
func (o *output) drain() {
	select {
	case <-o.done:
	case <-time.After(drainTime):
		for _, r := range o.reads {
			r.Close()
		}
		<-o.done
	}
}

func (o *output) close() {
	for i := range o.reads {
		o.reads[i].Close() // of a nil or closed file: an error without effect
		o.writes[i].Close()
	}
}

// text may be asked for after drain.
func (o *output) text(i int) string { return o.clips[i].String() }
