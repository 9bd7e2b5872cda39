package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// tick is what /proc counts CPU time in: USER_HZ, which is 100 on every Linux.
const tick = time.Second / 100

// Tree counts a process, its children, and those that have ended: all of a PostgreSQL server, if
// the process is its postmaster.
func Tree(pid int) Clock {
	return func(context.Context) (time.Duration, error) { return treeTicks("/proc", pid) }
}

// treeTicks reads the process before and after its children: one that ends in between is counted by
// neither or by both, and then all is read again.
func treeTicks(proc string, pid int) (time.Duration, error) {
	for range 10 {
		before, err := readStat(proc, pid)
		if err != nil {
			return 0, err
		}
		living, err := childTicks(proc, pid)
		if err != nil {
			return 0, err
		}
		after, err := readStat(proc, pid)
		if err != nil {
			return 0, err
		}
		if before.ended == after.ended {
			return time.Duration(after.own+after.ended+living) * tick, nil
		}
	}
	return 0, fmt.Errorf("the children of process %d end faster than they can be counted", pid)
}

func childTicks(proc string, pid int) (sum int64, err error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, name := range names {
		child, notNumber := strconv.Atoi(filepath.Base(name))
		if notNumber != nil {
			continue
		}
		if s, gone := readStat(proc, child); gone == nil && s.parent == pid {
			sum += s.own + s.ended
		}
	}
	return sum, err
}

type stat struct {
	name   string
	parent int
	own    int64 // ticks of the process itself
	ended  int64 // ticks of children that it has waited for
}

func readStat(proc string, pid int) (s stat, err error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return s, err
	}
	return parseStat(text)
}

// parseStat reads "pid (name) state ppid … utime stime cutime cstime …": the name may hold
// anything, what follows no parenthesis.
func parseStat(text []byte) (s stat, err error) {
	begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return s, fmt.Errorf("no /proc/PID/stat: %q", text)
	}
	f := strings.Fields(string(text[end+1:]))
	if len(f) < 15 {
		return s, fmt.Errorf("no /proc/PID/stat: %q", text)
	}
	var n [5]int64
	for i, field := range []string{f[1], f[11], f[12], f[13], f[14]} {
		if n[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return s, fmt.Errorf("no /proc/PID/stat: %q", text)
		}
	}
	return stat{name: string(text[begin+1 : end]), parent: int(n[0]), own: n[1] + n[2], ended: n[3] + n[4]}, nil
}

// wholeMachine is what everything on this machine has spent.
func wholeMachine(context.Context) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(string(text))
}

// parseMachine reads "cpu user nice system idle iowait irq softirq steal …"; guests are counted
// among users already.
func parseMachine(text string) (sum time.Duration, err error) {
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("no /proc/stat: %q", line)
	}
	for i, field := range f[1:9] {
		if i == 3 || i == 4 { // idle, iowait
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("no /proc/stat: %q", line)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// Postmaster finds the first process of the PostgreSQL server behind a URL, if it runs on this
// machine.
func Postmaster(ctx context.Context, url string) (int, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	if far(conn.PgConn().Conn()) {
		return 0, errors.New("it runs on another machine")
	}
	backend, err := readStat("/proc", int(conn.PgConn().PID()))
	if err != nil || backend.name != "postgres" {
		return 0, errors.New("its processes are not to be seen from here")
	}
	master, err := readStat("/proc", backend.parent)
	if err != nil || master.name != "postgres" {
		return 0, errors.New("its processes are not to be seen from here")
	}
	return backend.parent, nil
}

// far reports whether a connection leads to an address that is not the one it comes from.
func far(c net.Conn) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false // a Unix socket
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	return !ok || !local.IP.Equal(remote.IP)
}
