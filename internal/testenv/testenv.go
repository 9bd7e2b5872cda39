// Package testenv gives tests the real thing: databases on a real PostgreSQL, a real redis-server,
// and the means to stop, kill and pause them. It never skips a test: what is missing fails it, with
// the command that installs it.
//
// Nothing outlives the test process, even if that is killed. For tests only; a test of the whole
// tree holds that.
package testenv

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv/server"
)

// FreePort is a TCP port of 127.0.0.1 without a listener, which the kernel gives to no process by
// chance.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := server.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Eventually waits until ok answers true, and fails the test with the message if it has not after
// timeout. Call it from the test's own goroutine.
func Eventually(t testing.TB, timeout time.Duration, ok func() bool, format string, args ...any) {
	t.Helper()
	if !poll(timeout, ok) {
		t.Fatalf("not within %v: "+format, append([]any{timeout}, args...)...)
	}
}

// EventuallyNoError is Eventually for a check that can tell what is wrong; the last error is shown
// with the message.
func EventuallyNoError(t testing.TB, timeout time.Duration, check func() error, format string, args ...any) {
	t.Helper()
	var err error
	if !poll(timeout, func() bool { err = check(); return err == nil }) {
		t.Fatalf("not within %v: "+format+": %v", append(append([]any{timeout}, args...), err)...)
	}
}

// poll asks often at first and every 50 ms in the end. It asks once more after the timeout, so that
// a machine that was slow to wake us fails no test.
func poll(timeout time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(timeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		last := time.Now().After(deadline)
		if ok() {
			return true
		}
		if last {
			return false
		}
		time.Sleep(pause)
	}
}
