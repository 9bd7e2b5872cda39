// Package servertest runs a whole deployment within a test: API, worker, a SQLite ledger and a
// private Redis, in a folder that goes with the test.
package servertest

import (
	"bytes"
	"context"
	"errors"
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
// after the jobs that it runs; a test that must see it stop uses Server.Run.
func Start(t testing.TB, s *server.Server) *client.Client {
	t.Helper()
	quiet()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := new(output), make(chan int, 1)
	go func() {
		ended <- s.Run(ctx, []string{"dev", "--addr", "127.0.0.1:0", "--data", dir}, nil, out, out)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("waybill dev ended with code %d:\n%s", code, out)
		}
	})
	return await(t, dir, out, ended)
}

// quiet discards the log of the Redis library, which is the process's: the deployment reports by
// itself what fails.
var quiet = sync.OnceFunc(func() { app.SetRedisLogger(slog.New(slog.DiscardHandler)) })

func await(t testing.TB, dir string, out *output, ended chan int) *client.Client {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		select {
		case code := <-ended:
			ended <- code
			t.Fatalf("waybill dev did not start:\n%s", out)
		case <-time.After(lookEvery):
		}
		url, key := read(t, dir, "url"), read(t, dir, "key")
		if url != "" && key != "" {
			c, err := client.New(url, key)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("waybill dev did not start within %v:\n%s", startTimeout, out)
		}
	}
}

// read is a file that waybill dev writes once it answers; "" before that.
func read(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// output collects what the deployment prints, for a test that fails.
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
