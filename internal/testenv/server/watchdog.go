package server

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
)

// watchScript waits for the end of its input, which comes when the process that holds the other end
// of the pipe closes it or is gone, then ends the server whose number stands in $1/pid, and removes
// $1. A server that was reparented to an init without a reaper stays a zombie: that counts as
// ended. Children that are stopped are woken, where the system lists them: else PostgreSQL waits
// for them for five seconds before it kills them.
const watchScript = `
read -r _
if pid=$(cat "$1/pid" 2>/dev/null); then
	kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
	kill "-$2" "$pid"
	n=0
	while [ $n -lt 150 ] && kill -0 "$pid" && ! grep -q '^State:.Z' "/proc/$pid/status"; do
		sleep 0.1
		n=$((n+1))
	done
	kill -KILL "$pid"
fi 2>/dev/null
rm -rf "$1"
`

// watchdog is a shell that outlives this process by a moment. It is needed although the kernel can
// signal children of a dead parent: a stopped server does not see that signal, other systems than
// Linux send none, and the directory must be removed after a panic or a timeout of the test.
type watchdog struct {
	cmd   *exec.Cmd
	leash io.Closer
}

func watchOver(dir string, end syscall.Signal) (*watchdog, error) {
	// Not to be found by `kill` names that differ between systems, the signal goes by its number.
	cmd := exec.Command("/bin/sh", "-c", watchScript, "watchdog", dir, fmt.Sprint(int(end)))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of the terminal's ^C
	leash, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make watchdog's pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start watchdog: %w", err)
	}
	return &watchdog{cmd: cmd, leash: leash}, nil
}

// close lets the watchdog do its work and waits for it.
func (w *watchdog) close() error {
	_ = w.leash.Close()
	if err := w.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "already called") {
		return fmt.Errorf("clean up after server: %w", err)
	}
	return nil
}
