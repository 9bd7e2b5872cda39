//go:build linux

package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// The tests allow a shell, which no deployment should.
var shell = CommandConfig{
	Allow: map[string]string{"sh": "/bin/sh", "missing": "/nonexistent/program", "text": "/etc/passwd"},
	Env:   map[string][]string{"sh": {"COLOR", "LANG", "A"}},
}

func command(ctx context.Context, t *testing.T, j *job.Job, p commandPayload) (commandResult, error) {
	t.Helper()
	var res commandResult
	j.Payload, _ = json.Marshal(p)
	raw, err := runIn(ctx, t, commandRun(shell), j)
	if err == nil {
		err = json.Unmarshal(raw, &res)
	}
	return res, err
}

func script(text string) commandPayload {
	return commandPayload{Command: "sh", Args: []string{"-c", text}}
}

func TestCommandGetsItsInputAndAnEnvironmentOfItsOwn(t *testing.T) {
	t.Setenv("WAYBILL_JWT_KEYS", "TOPSECRET")
	j := &job.Job{ID: job.NewID(), OwnerID: job.NewID(), Attempt: 2}
	p := script(`cat; env; echo "$1" >&2`)
	p.Args = append(p.Args, "name", "$HOME; rm x")
	p.Stdin, p.Env = "in\n", map[string]string{"COLOR": "red", "LANG": "de"}
	res, err := command(t.Context(), t, j, p)
	if err != nil || res.ExitCode != 0 || res.Stderr != "$HOME; rm x\n" {
		t.Fatalf("got %+v, %v", res, err)
	}
	for _, want := range []string{"in\n", "COLOR=red\n", "LANG=de\n", "WAYBILL_JOB_ID=" + j.ID.String() + "\n",
		"WAYBILL_ATTEMPT=2\n", "WAYBILL_OWNER_ID=" + j.OwnerID.String() + "\n", "PATH=/usr/local/sbin:"} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("%q is not in:\n%s", want, res.Stdout)
		}
	}
	if strings.Contains(res.Stdout, "TOPSECRET") {
		t.Error("the worker's environment was handed on")
	}
}

func TestExitCodesAreClassified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		payload   commandPayload
		permanent bool
		says      string
	}{
		{script(`echo "no disk" >&2; exit 3`), false, "exit code 3: no disk"},
		{script(`kill -9 $$`), false, "ended by signal: killed"},
		{script(`exit 126`), true, "exit code 126"},
		{script(`no-such-program-here`), true, "exit code 127"},
		{commandPayload{Command: "missing"}, true, "no such file"},
		{commandPayload{Command: "text"}, true, "permission denied"},
		{commandPayload{Command: "other"}, true, "must be one of missing, sh, text"},
	} {
		_, err := command(t.Context(), t, &job.Job{}, c.payload)
		if err == nil || tasks.IsPermanent(err) != c.permanent || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: permanent %v: %v", c.payload, tasks.IsPermanent(err), err)
		}
	}
}

func TestOutputIsCutAndCleaned(t *testing.T) {
	t.Parallel()
	res, err := command(
		t.Context(),
		t,
		&job.Job{},
		script(`head -c 1000000 /dev/zero; printf '\377end'; printf '\377' >&2`),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{res.Stdout, res.Stderr} {
		if len(text) > maxOutput || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Errorf("%d bytes: %.20q", len(text), text)
		}
	}
	if !strings.Contains(res.Stdout, "bytes left out") || !strings.HasSuffix(res.Stdout, "end") {
		t.Errorf("kept %.40q … %q", res.Stdout, res.Stdout[len(res.Stdout)-20:])
	}
	_, err = command(t.Context(), t, &job.Job{}, script(`head -c 100000 /dev/zero >&2; printf 'é\377 why' >&2; exit 1`))
	if len(fmt.Sprint(err)) > 2*maxErrorTail || !strings.HasSuffix(fmt.Sprint(err), " why") ||
		!utf8.ValidString(fmt.Sprint(err)) {
		t.Errorf("the error has %d bytes: %q", len(fmt.Sprint(err)), err)
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	go func() {
		defer cancel(stop)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(ready); err == nil {
				return
			}
		}
	}()
	start := time.Now()
	_, err := command(ctx, t, &job.Job{}, script(`echo > `+ready+`; sleep 60`))
	if !errors.Is(err, stop) || tasks.IsPermanent(err) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestCommandsAreCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	c, err := shipped(Config{Command: shell}, discard())
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup("command.run")
	many := map[string]string{}
	for i := range maxEnv + 1 {
		many[fmt.Sprint("V", i)] = ""
	}
	manyJSON, _ := json.Marshal(many)
	const may = "may not be set: this deployment lets the command have COLOR, LANG, A"
	for payload, want := range map[string]string{
		`{}`:                    `/payload/command is required`,
		`{"command":"SH"}`:      `/payload/command must be one of missing, sh, text`,
		`{"command":"/bin/sh"}`: `/payload/command must be one of missing, sh, text`,
		`{"command":"sh","args":["a","b\u0000"]}`: `/payload/args/1 must not hold a NUL`,
		`{"command":"sh","args":"x"}`:             `/payload/args must be a list`,
		`{"command":"sh","env":{"A":"\u0000","B":"","ld_preload":"x","TAR_OPTIONS":"x","PATH":"x","":""}}`: `/payload/env/ ` + may + `; /payload/env/A must not hold a NUL; /payload/env/B ` + may +
			`; /payload/env/PATH ` + may + `; /payload/env/TAR_OPTIONS ` + may + `; /payload/env/ld_preload ` + may,
		`{"command":"text","env":{"A":"b"}}`: `/payload/env/A may not be set: this deployment lets the command have no variables`,
		`{"command":"sh","env":` + string(manyJSON) +
			`}`: `/payload/env must have at most 50 variables`,
		`{"command":"sh","env":{"A":"` + strings.Repeat("x", maxEnvBytes) +
			`"}}`: `/payload/env must have at most 32 KiB, names and values together`,
		`{"command":"sh","args":["-c","x"],"stdin":"\u0000","env":{"A":"b"}}`: ``,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(payload))); got != want {
			t.Errorf("%.100s\n got %s\nwant %s", payload, got, want)
		}
	}
}

func TestWrongVariablesOfCommandsAreNamedAtTheStart(t *testing.T) {
	t.Parallel()
	err := CommandConfig{Allow: map[string]string{"sh": "/bin/sh"},
		Env: map[string][]string{
			"sh":    {"LD_PRELOAD", "path", "WAYBILL_JOB_ID", "A B", "GOOD"},
			"other": {"A"},
		}}.Validate()
	for _, want := range []string{"LD_PRELOAD", "path", "WAYBILL_JOB_ID", `"A B"`, `"other"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	if strings.Contains(fmt.Sprint(err), "GOOD") {
		t.Errorf("GOOD is refused: %v", err)
	}
}
