// Package process runs a program and sees to it that nothing of it is left behind.
package process

import (
	"errors"
	"time"
)

// ErrUnsupported is the answer of Run on systems other than Linux.
var ErrUnsupported = errors.New("running programs is supported on Linux only")

// Command is what to run.
type Command struct {
	Path  string // absolute
	Args  []string
	Env   []string // all of it, nothing is inherited
	Dir   string
	Stdin string
	Keep  int           // bytes kept of each output, half from its beginning and half from its end
	Grace time.Duration // from SIGTERM to SIGKILL
	User  *User         // who runs it; nil: who runs this process
}

// User is a user and a group of the system.
type User struct{ UID, GID uint32 }

// Result is how it ended.
type Result struct {
	ExitCode int    // -1: ended by Signal
	Signal   string // empty: it ended by itself
	Stdout   string
	Stderr   string
}
