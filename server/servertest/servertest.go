// Package servertest runs a whole deployment within a test: API, worker, a SQLite ledger and a
// private Redis, in a folder that goes with the test.
package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/server"
)

const (
	startTimeout = time.Minute
	lookEvery    = 20 * time.Millisecond
)

// Start runs the dev command of s on a free port of 127.0.0.1, waits until it takes jobs, and
// answers a client with its administrator's key. The deployment is stopped when the test ends,
// after the jobs that it runs; a test that must see it stop uses Run.
func Start(t testing.TB, s *server.Server) *client.Client {
	t.Helper()
	c, stop, err := Run(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Run is Start for callers without a test of their own: a TestMain that shares one deployment
// between tests, and examples. stop ends the deployment after the jobs that it runs, and removes
// its folder.
func Run(s *server.Server) (c *client.Client, stop func() error, err error) {
	quiet()
	dir, err := os.MkdirTemp("", "servertest-")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &deployment{dir: dir, cancel: cancel, ended: make(chan int, 1)}
	go func() {
		d.ended <- s.Run(ctx, []string{"dev", "--addr", "127.0.0.1:0", "--data", dir}, nil, &d.out, &d.out)
	}()
	if c, err = d.await(); err != nil {
		return nil, nil, errors.Join(err, d.stop())
	}
	return c, d.stop, nil
}

// quiet discards the log of the Redis library, which is the process's: the deployment reports by
// itself what fails.
var quiet = sync.OnceFunc(func() { app.SetRedisLogger(slog.New(slog.DiscardHandler)) })

type deployment struct {
	dir    string
	out    output
	cancel context.CancelFunc
	ended  chan int // its exit code
}

func (d *deployment) stop() error {
	d.cancel()
	var failed error
	if code := <-d.ended; code != 0 {
		failed = fmt.Errorf("waybill dev ended with code %d:\n%s", code, &d.out)
	}
	return errors.Join(failed, os.RemoveAll(d.dir))
}

func (d *deployment) await() (*client.Client, error) {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		select {
		case code := <-d.ended:
			d.ended <- code
			return nil, errors.New("waybill dev did not start")
		case <-time.After(lookEvery):
		}
		url, err := d.read("url")
		key, errKey := d.read("key")
		if err = errors.Join(err, errKey); err != nil {
			return nil, err
		}
		if url != "" && key != "" {
			return client.New(url, key)
		}
	}
	return nil, fmt.Errorf("waybill dev did not start within %v:\n%s", startTimeout, &d.out)
}

// read is a file that waybill dev writes once it answers; "" before that.
func (d *deployment) read(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return string(bytes.TrimSpace(text)), nil
}

// output collects what the deployment prints, for an error to show.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
