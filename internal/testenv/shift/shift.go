// Package shift builds programs whose wall clock a test can move while they run. A preloaded
// library cannot do that for Go, whose runtime reads the clock without a library. So the program is
// built with another package time: go build takes it as an overlay, and nothing of the program
// changes.
//
// The program reads the offset from the file that the variable Variable names. The monotonic clock,
// and with it every timer and every measured duration, is not moved.
package shift

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Variable names the file in the environment of a program that was built with an Overlay.
const Variable = "WAYBILL_TEST_CLOCK"

const original = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"

const patched = "\tsec, nsec, mono := runtimeNow()\n\tsec, nsec = shiftWall(sec, nsec)\n\tif mono == 0 {\n"

// added is a file of package time. A goroutine reads the offset: time.Now may not, since the
// runtime also calls it on a stack that no system call may be made on.
const added = `package time

import (
	"sync/atomic"
	"syscall"
)

var shiftBy atomic.Int64 // nanoseconds

func init() {
	path, ok := syscall.Getenv("` + Variable + `")
	if !ok {
		return
	}
	readShift(path)
	go func() {
		for {
			Sleep(5 * Millisecond)
			readShift(path)
		}
	}()
}

func shiftWall(sec int64, nsec int32) (int64, int32) {
	at := int64(nsec) + shiftBy.Load()
	sec += at / 1e9
	if at %= 1e9; at < 0 {
		return sec - 1, int32(at + 1e9)
	}
	return sec, int32(at)
}

func readShift(path string) {
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(file)
	var text [32]byte
	n, err := syscall.Read(file, text[:])
	if err != nil || n <= 0 {
		return
	}
	by, negative := int64(0), text[0] == '-'
	for _, c := range text[:n] {
		if '0' <= c && c <= '9' {
			by = 10*by + int64(c-'0')
		}
	}
	if negative {
		by = -by
	}
	shiftBy.Store(by)
}
`

// Overlay writes what go build -overlay takes into dir and answers its path. The same Go gives the
// same files, so that the build cache knows the packages of an earlier build.
func Overlay(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("ask for GOROOT: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", fmt.Errorf("read package time: %w", err)
	}
	if strings.Count(string(source), original) != 1 {
		return "", errors.New("time.Now of this Go is not the one that is known here")
	}
	files := map[string]string{
		"time.go":          strings.Replace(string(source), original, patched, 1),
		"waybill_shift.go": added,
	}
	replace := map[string]string{}
	for name, text := range files {
		path := filepath.Join(dir, name+".txt") // no package for go vet ./...
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("write overlay: %w", err)
		}
		replace[filepath.Join(std, name)] = path
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o644)
}

// Set moves the clock of the programs whose Variable names the file: ahead of the machine's, or
// behind where ahead is negative. They see it within some milliseconds. Without the file their
// clock is the machine's.
func Set(path string, ahead time.Duration) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(int64(ahead), 10)), 0o644); err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	return os.Rename(next, path) // in one step: a program may be reading
}
