package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// beyond is more jobs a second than a small machine can do.
const beyond = 4000

// mostMemory is what a process may take under a load beyond its capacity, in KiB.
const mostMemory = 700 << 10

// overload keeps up, for a while, a load of many times what the machine can do.
func overload(ctx context.Context, w *cluster) error {
	usual := w.load.rate.Swap(beyond)
	loop.Sleep(ctx, w.during(10*time.Second, time.Minute))
	w.load.rate.Store(usual)
	for _, m := range w.members() {
		used, err := residentKiB(m.pid())
		if err != nil {
			return err
		}
		w.note(fmt.Sprintf("%s %d MiB", m.name, used>>10))
		if used > mostMemory {
			return fmt.Errorf("%s takes %d KiB", m.name, used)
		}
	}
	return nil
}

// residentKiB reads a process's peak memory where the system shows it; elsewhere it is 0.
func residentKiB(pid int) (kib int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err = fmt.Sscan(rest, &kib)
		}
	}
	return kib, err
}

// bounded: the API answered every request within the time that a client waits.
func bounded(e *evidence) []breach {
	const most = 20 * time.Second
	if t := e.w.book.slowest; t > most {
		return []breach{{"alive", fmt.Sprintf("an answer took %v", t), ""}}
	}
	return nil
}
