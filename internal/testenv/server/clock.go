package server

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Clock is the clock of servers that were started with it: the machine's, moved by an offset that
// can be changed while they run. A library that is preloaded into them adds it. The monotonic clock
// is not moved, as it is not when an operator sets a clock. (Debian's libfaketime does not work
// with a redis-server that is linked with jemalloc.)
type Clock struct{ offset, library string }

// preload is the library's source. It is compiled for each Clock: the race detector needs a C
// compiler too, so there is one.
//
//go:embed preload/clock.c.txt
var preload []byte

// NewClock makes a clock that shows the machine's time.
func NewClock() (*Clock, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("servers with a clock of their own need Linux")
	}
	dir, err := os.MkdirTemp("", "waybill-clock-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	c := &Clock{offset: filepath.Join(dir, "offset"), library: filepath.Join(dir, "clock.so")}
	if err := c.make(dir); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Clock) make(dir string) error {
	source := filepath.Join(dir, "clock.c")
	if err := os.WriteFile(source, preload, 0o644); err != nil {
		return fmt.Errorf("make a clock: %w", err)
	}
	if out, err := exec.Command("cc", "-O2", "-shared", "-fPIC", "-o", c.library, source).CombinedOutput(); err != nil {
		return fmt.Errorf("compile a clock: %w; cc said:\n%s", err, out)
	}
	if err := os.WriteFile(c.offset, make([]byte, 8), 0o644); err != nil {
		return fmt.Errorf("make a clock: %w", err)
	}
	return os.Chmod(dir, 0o755) // PostgreSQL runs as another user
}

// Set moves the clock to ahead of the machine's; a negative offset is behind. Servers see it with
// their next look at the clock.
func (c *Clock) Set(ahead time.Duration) error {
	file, err := os.OpenFile(c.offset, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	// In place: the servers have mapped the file. Eight bytes are written in one step.
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead)), 0)
	return errors.Join(err, file.Close())
}

// Close removes the clock's files. The servers must be gone.
func (c *Clock) Close() error { return os.RemoveAll(filepath.Dir(c.offset)) }

func (c *Clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "WAYBILL_TEST_CLOCK_OFFSET=" + c.offset}
}
