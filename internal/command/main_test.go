package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

// programs is the folder of the three programs, which the first test that needs them builds as they
// are shipped.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "waybill-cmd-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	if out, err := exec.Command("go", "build", "-o", programs, "../../cmd/...").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
})

// program is the path of one of the three.
func program(t *testing.T, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs, name)
}

const startPatience = 2 * time.Minute // what does start is quick; a busy machine may not be

// ends runs a program that shall end by itself, and answers its exit code and what it printed.
func ends(t *testing.T, environ []string, input, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return endsIn(t, "", environ, input, name, args...)
}

// endsIn is ends, in a folder.
func endsIn(
	t *testing.T,
	dir string,
	environ []string,
	input, name string,
	args ...string,
) (code int, stdout, stderr string) {
	t.Helper()
	path := program(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs bytes.Buffer
	environ = append([]string{"HOME=" + t.TempDir()}, environ...) // never nil, which would mean our own
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, environ, strings.NewReader(input), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s did not end by itself: %v\n%s", name, err, errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

const signingKey = "WAYBILL_JWT_KEYS=k:2mDxd0/Ozr4FBknwd8i0ibHBtNjMme00r3UfsgJU60U="

func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestWhatKeepsAProgramFromStartingIsOneClearLine(t *testing.T) {
	t.Parallel()
	taken, nobody := takenPort(t), fmt.Sprint("127.0.0.1:", testenv.FreePort(t))
	empty, ready := "DATABASE_URL="+testenv.Postgres(t), "DATABASE_URL="+testenv.Postgres(t)
	redis, evicting := "REDIS_URL="+testenv.Redis(
		t,
	).URL, "REDIS_URL="+testenv.Redis(
		t,
		"--maxmemory",
		"100mb",
		"--maxmemory-policy",
		"allkeys-lru",
	).URL
	unreachable := "DATABASE_URL=postgres://waybill:TOPSECRET@" + nobody + "/waybill"
	missing := "DATABASE_URL=" + strings.Replace(
		strings.TrimPrefix(empty, "DATABASE_URL="),
		"waybill_test_",
		"no_such_",
		1,
	)
	stranger := strings.Replace(ready, "://postgres", "://stranger:TOPSECRET", 1)
	if code, _, errs := ends(t, []string{ready}, "", "waybill", "migrate", "up"); code != 0 {
		t.Fatal(errs)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free := "WAYBILL_ADDR=127.0.0.1:0"
	for name, test := range map[string]struct {
		program string
		args    []string
		environ []string
		code    int
		says    string
	}{
		"api, port taken": {"api", nil, []string{ready, redis, signingKey, "WAYBILL_ADDR=" + taken}, 1,
			"cannot listen on " + taken + " (WAYBILL_ADDR)"},
		"worker, port taken": {"worker", nil, []string{ready, redis, "WAYBILL_METRICS_ADDR=" + taken}, 1,
			"cannot listen on " + taken + " (WAYBILL_METRICS_ADDR)"},
		"dev, port taken": {"waybill", []string{"dev", "--addr", taken, "--data", t.TempDir()}, nil, 1,
			"cannot listen on " + taken + " (--addr"},
		"api, database unreachable":    {"api", nil, []string{unreachable, redis, signingKey, free}, 1, "DATABASE_URL"},
		"worker, database unreachable": {"worker", nil, []string{unreachable, redis}, 1, "DATABASE_URL"},
		"migrate, unreachable": {"waybill", []string{"migrate", "up"}, []string{unreachable}, 1,
			"DATABASE_URL"},
		"admin, unreachable": {"waybill", []string{"admin", "create", "--email", "a@example.com"},
			[]string{unreachable}, 1, "DATABASE_URL"},
		"fsck, unreachable": {"waybill", []string{"fsck"}, []string{unreachable, redis}, 2, "DATABASE_URL"},
		"dev, database unreachable": {"waybill",
			[]string{"dev", "--addr", "127.0.0.1:0", "--data", t.TempDir(), "--database-url",
				strings.TrimPrefix(unreachable,
					"DATABASE_URL=")}, nil, 1, "DATABASE_URL"},
		"dev, no address": {"waybill", []string{"dev", "--addr", "", "--data", t.TempDir()}, nil, 1, "--addr"},
		"dev, no data folder": {"waybill", []string{"dev", "--addr", "127.0.0.1:0", "--data", ""}, nil, 1,
			"--data"},
		"api, no such database": {"api", nil, []string{missing, redis, signingKey, free}, 1,
			"(DATABASE_URL): connect: "},
		"worker, no such role": {"worker", nil, []string{stranger, redis}, 1, "(DATABASE_URL)"},
		"api, no such folder": {"api", nil,
			[]string{"DATABASE_URL=sqlite:/no/such/folder/waybill.db", redis, signingKey, free}, 1, "(DATABASE_URL)"},
		"migrate, no such role": {"waybill", []string{"migrate", "status"}, []string{stranger}, 1, "(DATABASE_URL)"},
		"api, not migrated":     {"api", nil, []string{empty, redis, signingKey, free}, 1, "migrate up"},
		"worker, not migrated":  {"worker", nil, []string{empty, redis}, 1, "migrate up"},
		"admin, not migrated": {"waybill", []string{"admin", "create", "--email", "a@example.com"},
			[]string{empty}, 1, "migrate up"},
		"api, an evicting Redis": {"api", nil, []string{ready, evicting, signingKey, free}, 1, "noeviction"},
		"fsck, Redis unreachable": {"waybill", []string{"fsck"}, []string{ready, "REDIS_URL=redis://" + nobody}, 2,
			"REDIS_URL"},
		"dev, data is a file": {"waybill", []string{"dev", "--addr", "127.0.0.1:0", "--data", file}, nil, 1,
			"--data"},
		"admin, a wrong e-mail": {"waybill", []string{"admin", "create", "--email", "nonsense"}, []string{ready}, 1,
			"email"},
		"admin, an empty password": {"waybill",
			[]string{"admin", "create", "--email", "a@example.com", "--password-stdin"}, []string{ready}, 1,
			"password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := ends(
				t,
				append(test.environ, "PATH="+os.Getenv("PATH"), "WAYBILL_LOG_LEVEL=error"),
				"",
				test.program,
				test.args...)
			if code != test.code || !strings.Contains(errs, test.says) || out != "" {
				t.Errorf("exit code %d, want %d and %q: %s%s", code, test.code, test.says, errs, out)
			}
			if n := strings.Count(strings.TrimSpace(errs), "\n"); n != 0 {
				t.Errorf("%d lines: %s", n+1, errs)
			}
			if strings.Contains(errs, "TOPSECRET") || strings.Contains(errs, "goroutine") {
				t.Errorf("it says too much: %s", errs)
			}
		})
	}
}

func TestEachMistakeInTheConfigurationIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	wrong := []string{
		"DATABASE_URL=mysql://root:TOPSECRET@x",
		"REDIS_URL=localhost:6379",
		"WAYBILL_JWT_KEYS=k:TOPSECRET",
		"WAYBILL_CONCURRENCY=many",
		"WAYBILL_QUEUES=a=0",
		"WAYBILL_ADDR=8080",
		"WAYBILL_LOG_LEVEL=loud",
		"WAYBILL_REGISTRATION=maybe",
		"WAYBILL_HTTP_ALLOW=10.0.0.1/8",
		"WAYBILL_RETENTION=-1s",
		"WAYBILL_QUEUE=x",
	}
	required := map[string][]string{
		"api":    {"DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS"},
		"worker": {"DATABASE_URL", "REDIS_URL"},
	}
	for name, names := range required {
		code, out, errs := ends(t, wrong, "", name)
		for _, line := range wrong {
			variable, _, _ := strings.Cut(line, "=")
			if strings.Count(errs, "\n  "+variable+": ") != 1 {
				t.Errorf("%s does not name %s once: %s", name, variable, errs)
			}
		}
		if code != 2 || out != "" || strings.Contains(errs, "TOPSECRET") || strings.Count(errs, "\n") != len(wrong)+1 {
			t.Errorf("%s: exit code %d: %s%s", name, code, errs, out)
		}
		code, _, errs = ends(t, nil, "", name)
		for _, variable := range names {
			if code != 2 || !strings.Contains(errs, variable+": required, but not set") {
				t.Errorf("%s without %s: exit code %d: %s", name, variable, code, errs)
			}
		}
	}
	if code, _, errs := ends(t, nil, "", "waybill", "migrate", "up"); code == 0 ||
		!strings.Contains(errs, "DATABASE_URL: required, but not set") {
		t.Errorf("migrate: exit code %d: %s", code, errs)
	}
}

func TestWrongArgumentsAreRefusedAndHelpIsPrinted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"no-such"}, {"dev", "--no-such"}, {"migrate"}, {"migrate", "sideways"},
		{"admin", "create"}, {"fsck", "x"}, {"dev", "--addr"}} {
		var out, errs bytes.Buffer
		if code := (Program{}).Run(t.Context(), args, strings.NewReader(""), &out, &errs); code != 2 ||
			errs.Len() == 0 {
			t.Errorf("%v: exit code %d: %s", args, code, errs.String())
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"dev", "--help"}, {"version"}, {"--version"}} {
		var out, errs bytes.Buffer
		if code := (Program{}).Run(t.Context(), args, strings.NewReader(""), &out, io.Discard); code != 0 ||
			out.Len() == 0 {
			t.Errorf("%v: exit code %d: %s%s", args, code, out.String(), errs.String())
		}
	}
	for _, name := range []string{"api", "worker"} {
		if code, out, errs := ends(t, nil, "", name, "--help"); code != 0 || !strings.Contains(out, "Usage: "+name) ||
			errs != "" {
			t.Errorf("%s --help: exit code %d: %s%s", name, code, out, errs)
		}
		if code, out, errs := ends(t, nil, "", name, "--port=8080"); code != 2 || strings.Count(errs, "\n") != 1 ||
			out != "" {
			t.Errorf("%s --port: exit code %d: %s%s", name, code, out, errs)
		}
	}
}

func TestAnAdministratorIsMadeFromTheCommandLine(t *testing.T) {
	t.Parallel()
	database := []string{"DATABASE_URL=" + testenv.Postgres(t)}
	for range 2 { // the second time there is nothing to do
		if code, _, errs := ends(t, database, "", "waybill", "migrate", "up"); code != 0 {
			t.Fatal(errs)
		}
	}
	code, out, errs := ends(
		t,
		database,
		"the right password\n",
		"waybill",
		"admin",
		"create",
		"--email",
		"Root@Example.com",
		"--password-stdin",
	)
	if code != 0 || !strings.Contains(out, "root@example.com") || strings.Contains(out+errs, "the right password") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, out, errs = ends(t, database, "", "waybill", "admin", "create", "--email", "root@example.com"); code == 0 {
		t.Errorf("a second one of the same e-mail: %s%s", out, errs)
	}
	for _, set := range []struct {
		args []string
		in   string
		code int
		says string
	}{
		{[]string{"--email", "ROOT@example.com", "--require-change"}, "", 0, "password: "},
		{[]string{"--email", "root@example.com", "--password-stdin"}, "another password of mine\n", 0,
			"password of root@example.com set"},
		{[]string{"--email", "root@example.com", "--password-stdin"}, "password1\n", 1, "common"},
		{[]string{"--email", "nobody@example.com"}, "", 1, "user not found"},
	} {
		code, out, errs = ends(t, database, set.in, "waybill", append([]string{"admin", "password"}, set.args...)...)
		if code != set.code || !strings.Contains(out+errs, set.says) ||
			strings.Contains(out+errs, "another password of mine") {
			t.Errorf("admin password %v: exit code %d: %s%s", set.args, code, out, errs)
		}
	}
	if code, out, _ = ends(t, database, "", "waybill", "migrate", "status"); code != 0 ||
		strings.Contains(out, "pending") ||
		!strings.Contains(out, "applied") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, errs = ends(t, database, "", "waybill", "migrate", "down"); code != 0 {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}
