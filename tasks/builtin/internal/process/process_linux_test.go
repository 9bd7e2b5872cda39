package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sh(script string) Command {
	return Command{
		Path:  "/bin/sh",
		Args:  []string{"-c", script},
		Env:   []string{"PATH=/usr/bin:/bin"},
		Dir:   os.TempDir(),
		Keep:  1000,
		Grace: 200 * time.Millisecond,
	}
}

func TestRunAnswersWhatTheProgramSaid(t *testing.T) {
	t.Parallel()
	c := sh(`cat; echo "$A" >&2; exit 3`)
	c.Stdin = "in"
	c.Env = append(c.Env, "A=b")
	got, err := Run(t.Context(), c)
	if want := (Result{ExitCode: 3, Stdout: "in", Stderr: "b\n"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = Run(t.Context(), sh(`env | sort`))
	if err != nil || strings.Contains(got.Stdout, "HOME=") {
		t.Errorf("inherited %q, %v", got.Stdout, err)
	}
	got, err = Run(t.Context(), sh(`kill -9 $$`))
	if err != nil || got.Signal != "killed" || got.ExitCode != -1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRunTakesAnyAmountOfInputAndOutput(t *testing.T) {
	t.Parallel()
	c := sh(`cat; head -c 3000000 /dev/zero >&2`)
	c.Stdin = strings.Repeat("x", 1<<20)
	got, err := Run(t.Context(), c)
	if err != nil || got.ExitCode != 0 || len(got.Stdout) > 1100 || len(got.Stderr) > 1100 {
		t.Errorf("%d, %d, %v", len(got.Stdout), len(got.Stderr), err)
	}
	c = sh(`exit 0`) // never reads what it is sent
	c.Stdin = strings.Repeat("x", 1<<20)
	if got, err := Run(t.Context(), c); err != nil || got.ExitCode != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRunSaysWhyAProgramCannotStart(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Command{Path: "/nonexistent/program"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Run(t.Context(), Command{Path: "/etc/passwd"}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("no program: %v", err)
	}
}

func TestTheGroupGetsSIGTERMAndTimeToObey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The leader dies of SIGTERM at once; its child tidies up first.
	c := sh(
		fmt.Sprintf(
			`(trap 'sleep 0.2; echo tidy > %[1]s/tidy; exit' TERM; echo ready > %[1]s/ready; while :; do sleep 0.05; done) & wait`,
			dir,
		),
	)
	c.Grace = 10 * time.Second
	took, err := stopWhenReady(t, c, dir)
	if err == nil || took > 8*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if _, err := os.Stat(filepath.Join(dir, "tidy")); err != nil {
		t.Error("the child was killed before it had tidied up")
	}
}

func TestWhoIgnoresSIGTERMIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := sh(
		fmt.Sprintf(
			`trap '' TERM; (trap '' TERM; exec sleep 60) & echo $! > %[1]s/child; echo $$ > %[1]s/leader; echo > %[1]s/ready; wait; sleep 60`,
			dir,
		),
	)
	took, err := stopWhenReady(t, c, dir)
	if err == nil || took < c.Grace || took > 10*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	eventuallyGone(t, pidIn(t, dir, "leader"))
	eventuallyGone(t, pidIn(t, dir, "child"))
}

func TestNoChildSurvivesAProgramThatEndedByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := time.Now()
	got, err := Run(t.Context(), sh(fmt.Sprintf(`sleep 60 & echo $! > %s/child; echo done`, dir)))
	if err != nil || got.Stdout != "done\n" || time.Since(start) > 10*time.Second {
		t.Errorf("%+v, %v after %v", got, err, time.Since(start))
	}
	eventuallyGone(t, pidIn(t, dir, "child"))
}

func TestAProcessThatLeftTheGroupIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	// It keeps all three pipes open, and has left before the leader ends.
	c := sh(
		fmt.Sprintf(
			`exec 3<&0; setsid sh -c 'echo > %[1]s/left; exec sleep 5' <&3 & while [ ! -e %[1]s/left ]; do sleep 0.01; done; echo done`,
			t.TempDir(),
		),
	)
	c.Stdin = strings.Repeat("x", 1<<20)
	start := time.Now()
	got, err := Run(t.Context(), c)
	if err != nil || got.Stdout != "done\n" || time.Since(start) > 4*time.Second {
		t.Errorf("%+v, %v after %v", got, err, time.Since(start))
	}
}

// TestTheProgramDiesWithUs runs this test binary again as the worker, kills it, and looks for the
// worker's program.
func TestTheProgramDiesWithUs(t *testing.T) {
	if dir := os.Getenv("PROCESS_TEST_DIR"); dir != "" {
		_, _ = Run(t.Context(), sh(fmt.Sprintf(`echo $$ > %[1]s/leader; echo > %[1]s/ready; exec sleep 60`, dir)))
		return
	}
	t.Parallel()
	dir := t.TempDir()
	worker := exec.Command(os.Args[0], "-test.run=^TestTheProgramDiesWithUs$")
	worker.Env = append(os.Environ(), "PROCESS_TEST_DIR="+dir)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	awaitFile(t, filepath.Join(dir, "ready"))
	_ = worker.Process.Kill()
	_ = worker.Wait()
	eventuallyGone(t, pidIn(t, dir, "leader"))
}

// stopWhenReady runs c, ends its context once dir/ready is there, and times the rest.
func stopWhenReady(t *testing.T, c Command, dir string) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	out := make(chan error, 1)
	go func() {
		_, err := Run(ctx, c)
		out <- err
	}()
	awaitFile(t, filepath.Join(dir, "ready"))
	start := time.Now()
	cancel(stop)
	err := <-out
	if !errors.Is(err, stop) {
		t.Errorf("the error hides why it was stopped: %v", err)
	}
	return time.Since(start), err
}

func awaitFile(t *testing.T, name string) {
	t.Helper()
	poll(t, name+" never came", func() bool {
		_, err := os.Stat(name)
		return err == nil
	})
}

func pidIn(t *testing.T, dir, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// eventuallyGone counts a zombie as gone: its new parent reaps it.
func eventuallyGone(t *testing.T, pid int) {
	t.Helper()
	poll(t, fmt.Sprintf("process %d lives on", pid), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func poll(t *testing.T, failure string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(failure)
		}
	}
}

// TestAProgramCannotReadTheWorkersEnvironment runs this test binary again as the worker, which is
// not dumpable.
func TestAProgramCannotReadTheWorkersEnvironment(t *testing.T) {
	if os.Getenv("PROCESS_TEST_SECRET") != "" {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		c := sh(`cat /proc/$PPID/environ /proc/$PPID/maps; grep -E 'NoNewPrivs|CapBnd' /proc/self/status`)
		got, err := Run(t.Context(), c)
		fmt.Println(got.Stdout, err)
		return
	}
	t.Parallel()
	worker := exec.Command(os.Args[0], "-test.run=^TestAProgramCannotReadTheWorkersEnvironment$")
	worker.Env = append(os.Environ(), "PROCESS_TEST_SECRET=TOPSECRET")
	out, err := worker.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "TOPSECRET") || strings.Contains(string(out), "[heap]") {
		t.Error("the program read the worker's environment or its memory map")
	}
	if !strings.Contains(string(out), "NoNewPrivs:\t1") {
		t.Errorf("the program can gain privileges: %s", out)
	}
}

func TestAProgramRunsAsTheUserItIsGiven(t *testing.T) {
	t.Parallel()
	nobody := &User{UID: 65534, GID: 65534}
	if CheckUser(nobody) != nil { // only root can change the user
		if err := CheckUser(&User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}); err != nil {
			t.Error(err)
		}
		return
	}
	c := sh(`id -u; id -G; sleep 60 & wait`)
	c.User = nobody
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program of another user could not be stopped: %v", err)
	}
	c = sh(`id -u; id -G`)
	c.User = nobody
	if got, err := Run(t.Context(), c); err != nil || got.Stdout != "65534\n65534\n" {
		t.Errorf("got %+v, %v", got, err)
	}
}
