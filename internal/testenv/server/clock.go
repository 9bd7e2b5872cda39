package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Clock is the clock of servers that were started with it: the machine's, moved by an offset that can
// be changed while they run. Debian's libfaketime stands between them and the machine. The monotonic
// clock is not moved, as it is not when an operator sets a clock.
type Clock struct{ path, library string }

// NewClock makes a clock that shows the machine's time.
func NewClock() (*Clock, error) {
	library, err := lookFaketime()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "waybill-clock-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	c := &Clock{path: filepath.Join(dir, "offset"), library: library}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user
		return nil, errors.Join(err, c.Close())
	}
	return c, c.Set(0)
}

// Set moves the clock to ahead of the machine's; a negative offset is behind. Servers see it with
// their next look at the clock.
func (c *Clock) Set(ahead time.Duration) error {
	text := strconv.FormatFloat(ahead.Seconds(), 'f', 6, 64)
	if ahead >= 0 {
		text = "+" + text
	}
	next := c.path + ".next"
	if err := os.WriteFile(next, []byte(text+"\n"), 0o644); err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	return os.Rename(next, c.path) // in one step: a server may be reading
}

// Close removes the clock's file. The servers must be gone.
func (c *Clock) Close() error { return os.RemoveAll(filepath.Dir(c.path)) }

func (c *Clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.path, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

// lookFaketime finds the library that Debian's package faketime brings.
func lookFaketime() (string, error) {
	found, err := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if err != nil {
		return "", fmt.Errorf("look for libfaketime: %w", err)
	}
	if len(found) == 0 {
		return "", missing("libfaketime", "faketime", "libfaketime")
	}
	return found[0], nil
}
