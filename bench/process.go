package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is an api or a worker.
type process struct {
	path, log string
	env       []string
	cmd       *exec.Cmd
	done      chan struct{} // closed when it was reaped
}

func newProcess(path, log string, env []string) *process {
	return &process{path: path, log: log, env: env}
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.env, log, log, attributes()
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the kernel takes the death of the thread that forked for ours
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
	}()
	p.cmd, p.done = cmd, done
	return <-started
}

// await returns when the process answers at a URL with 200.
func (p *process) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	for {
		err := call(ctx, http.MethodGet, url, "", "", nil)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", filepath.Base(p.path), p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", filepath.Base(p.path), err, p.logTail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop asks it to end, and after a while no more asks.
func (p *process) stop() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already: it is no error
	select {
	case <-p.done:
		return nil
	case <-time.After(ready):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end when it was asked to", filepath.Base(p.path))
	}
}

func (p *process) logTail() string {
	const most = 4 << 10
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return "its log ends:\n" + string(text[max(0, len(text)-most):])
}

// call is a plain request: it fails unless it is answered with 2xx, whose body is read into out.
func call(ctx context.Context, method, url, token, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answers %s: %.300s", method, url, res.Status, answer)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}
