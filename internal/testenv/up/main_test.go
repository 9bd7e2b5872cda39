package main_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// build makes the command; what it does to signals cannot be seen through `go run`.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "up")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// command is up with no database in its environment.
func command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "WAYBILL_TEST_DATABASE_URL=")
	return cmd
}

func code(t *testing.T, err error) int {
	t.Helper()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err == nil {
		return 0
	}
	return exit.ExitCode()
}

func TestTheCommandFindsADatabaseThatIsGoneAfterIt(t *testing.T) {
	t.Parallel()
	out, err := command(build(t), "--", "sh", "-c", `printf %s "$WAYBILL_TEST_DATABASE_URL"; exit 7`).Output()
	if got := code(t, err); got != 7 {
		t.Errorf("exit code %d, want the command's own: 7", got)
	}
	if !strings.HasPrefix(string(out), "postgres://") {
		t.Fatalf("the command saw %q as its database", out)
	}
	if conn, err := pgx.Connect(t.Context(), string(out)); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the server outlived the command")
	}
}

func TestADatabaseThatIsNamedAlreadyIsUsed(t *testing.T) {
	t.Parallel()
	cmd := command(build(t), "--", "sh", "-c", `printf %s "$WAYBILL_TEST_DATABASE_URL"`)
	cmd.Env = append(cmd.Env, "WAYBILL_TEST_DATABASE_URL=postgres://elsewhere/x")
	out, err := cmd.Output()
	if err != nil || string(out) != "postgres://elsewhere/x" {
		t.Errorf("the command saw %q, %v", out, err)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd := command(
				build(t),
				"--",
				"sh",
				"-c",
				`n=0; trap 'n=$((n+1)); echo got' TERM INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.1; [ $n -gt 0 ] && i=$((i+1)); done; exit $n`,
			)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, out, "ready")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(out)
			if got := code(t, cmd.Wait()); got != 1 {
				t.Errorf("the command counted %d signals, want 1; it said %q", got, rest)
			}
		})
	}
}

func TestACommandEndedByASignalIsToldByItsExitCode(t *testing.T) {
	t.Parallel()
	err := command(build(t), "--", "sh", "-c", "kill -TERM $$").Run()
	if got := code(t, err); got != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d, want 143", got)
	}
}

func TestWithoutACommandItTellsHowItIsUsed(t *testing.T) {
	t.Parallel()
	out, err := command(build(t), "--").CombinedOutput()
	if got := code(t, err); got != 2 || !bytes.Contains(out, []byte("usage")) {
		t.Errorf("exit code %d, output %q", got, out)
	}
}

// await reads until text was seen.
func await(t *testing.T, r io.Reader, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(chan error, 1)
	go func() {
		var got []byte
		for one := make([]byte, 1); !bytes.Contains(got, []byte(text)); got = append(got, one[0]) {
			if _, err := r.Read(one); err != nil {
				seen <- err
				return
			}
		}
		seen <- nil
	}()
	select {
	case err := <-seen:
		if err != nil {
			t.Fatalf("await %q: %v", text, err)
		}
	case <-ctx.Done():
		t.Fatalf("%q was not said", text)
	}
}
