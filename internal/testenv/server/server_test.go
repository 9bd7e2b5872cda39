package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv/server"
)

// childVariable makes this test binary the process whose end the servers must not survive.
const childVariable = "WAYBILL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child starts both servers, pauses them, says where they are, and waits for its end.
func child() error {
	p, err := server.StartPostgres()
	if err != nil {
		return err
	}
	r, err := server.StartRedis()
	if err != nil {
		return err
	}
	// Paused, PostgreSQL does not see the signal that the kernel sends: the watchdog has to wake
	// it.
	if err := errors.Join(p.Pause(), r.Pause()); err != nil {
		return err
	}
	fmt.Println(p.Addr(), r.Addr())
	select {}
}

func TestServersDoNotOutliveTheProcessThatStartedThem(t *testing.T) {
	t.Parallel()
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGQUIT} {
		t.Run(end.String(), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			dir := open(t)
			cmd.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				_ = cmd.Process.Kill()
				t.Fatalf("the child said %q: %v", line, err)
			}
			if err := cmd.Process.Signal(end); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // ended by a signal: always an error
			where := strings.Fields(line)
			awaitGone(t, where, dir)
		})
	}
}

// open is a directory that another user may enter, too; t.TempDir is not where the umask is strict.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "waybill-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// awaitGone waits until the addresses have no listener and dir is empty.
func awaitGone(t *testing.T, addrs []string, dir string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, addr := range addrs {
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				left = append(left, addr)
			}
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			left = append(left, f.Name())
		}
		if left == nil {
			return
		}
	}
	t.Errorf("still there: %v", left)
}

func TestAServerThatDoesNotStartTellsWhyAndLeavesNothing(t *testing.T) {
	dir := open(t)
	t.Setenv("TMPDIR", dir)
	if _, err := server.StartRedis("--no-such-option", "1"); err == nil ||
		!strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("redis: got %v, want its own words", err)
	}
	if _, err := server.StartPostgres("no_such_setting=1"); err == nil ||
		!strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("postgres: got %v, want its own words", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAMissingProgramIsNamedWithTheCommandThatInstallsIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := server.LookRedis(); err == nil || !strings.Contains(err.Error(), "install") {
		t.Errorf("got %v, want how to install it", err)
	}
}

func TestFreePortsLieBelowTheRangeOfOutgoingConnections(t *testing.T) {
	t.Parallel()
	lowest := 32_768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(text), &lowest); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		port, err := server.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if port >= lowest {
			t.Fatalf("port %d is one that the kernel gives away (from %d on)", port, lowest)
		}
	}
}
