package command

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// jobs runs `waybill jobs` against a dev process, whose key it finds by itself.
func (d *devProcess) jobs(data, input string, args ...string) (code int, out, errs string) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"jobs", "--url", d.url, "--token-file", filepath.Join(data, "key")}, args...)
	code = (Program{}).Run(context.Background(), args, strings.NewReader(input), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestJobsAreSubmittedReadAndSteeredFromTheCommandLine(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	d := startDev(t, data, "")
	if info, err := os.Stat(filepath.Join(data, "key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key: %v, %v", info, err)
	}
	must := func(input string, args ...string) string {
		t.Helper()
		code, out, errs := d.jobs(data, input, args...)
		if code != 0 || errs != "" {
			t.Fatalf("%v: exit code %d: %s%s", args, code, out, errs)
		}
		return out
	}
	state := func(text string) string {
		t.Helper()
		var j struct{ State string }
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return j.State
	}
	done := must(
		`{"a": 1.10}`,
		"submit",
		"debug.echo",
		"-",
		"--label",
		"team=red",
		"--max-retries",
		"0",
		"--timeout",
		"5s",
		"--wait",
		"30s",
	)
	if state(done) != "completed" || !strings.Contains(done, `"a": 1.10`) || !strings.Contains(done, `"team": "red"`) {
		t.Errorf("got %s", done)
	}
	first := must("", "submit", "debug.echo", "--delay", "1h", "--queue", "low", "--idempotency-key", "once")
	if again := must("", "submit", "debug.echo", "--delay", "1h", "--queue", "low", "--idempotency-key",
		"once"); again != first {
		t.Errorf("the same key made %s and %s", first, again)
	}
	waiting := strings.TrimSpace(first)
	table := must("", "list", "--state", "scheduled", "--queue", "low")
	if n := strings.Count(table, "\n"); n != 2 || !strings.HasPrefix(table, "ID ") ||
		!strings.Contains(table, waiting) {
		t.Errorf("got %s", table)
	}
	if out := must("", "cancel", waiting); out != waiting+"\tcanceled\n" {
		t.Errorf("got %s", out)
	}
	if out := must("", "retry", waiting); !strings.HasPrefix(out, waiting+"\t") {
		t.Errorf("got %s", out)
	}
	if out := must("", "get", waiting, "--wait", "30s"); state(out) != "completed" {
		t.Errorf("got %s", out)
	}
	for range 4 {
		must("", "submit", "debug.echo", `{"n":1}`)
	}
	lines := strings.Split(
		strings.TrimSpace(must("", "list", "--json", "--limit", "0", "--all", "--type", "debug.echo")),
		"\n",
	)
	if len(lines) != 6 || state(lines[5]) == "" {
		t.Errorf("%d lines: %s", len(lines), lines)
	}
	if n := strings.Count(must("", "list", "--limit", "3"), "\n"); n != 4 {
		t.Errorf("%d lines, want a head and 3", n)
	}
	if out := must("", "list", "-o", "json", "--label", "team=red"); state(out) != "completed" {
		t.Errorf("json: %s", out)
	}
	if code, _, errs := d.jobs(data, "", "list", "-o", "xml"); code != 2 || !strings.Contains(errs, "table") {
		t.Errorf("an unknown format: exit code %d: %s", code, errs)
	}
	if code, _, errs := d.jobs(data, "", "submit", "debug.echo", "--delay", "soon"); code != 2 ||
		!strings.Contains(errs, "--delay") {
		t.Errorf("a delay that is none: exit code %d: %s", code, errs)
	}

	if out := must("", "list", "-o", "wide", "--limit", "50"); !strings.Contains(out, "LABELS\n") ||
		!strings.Contains(out, "  team=red\n") {
		t.Errorf("the wide list is %s", out)
	}

	for says, args := range map[string][]string{
		"is archived":        {"submit", "debug.fail", `{"permanent":true}`, "--wait", "30s"},
		"/payload/duration":  {"submit", "debug.sleep", `{"duration":"1y"}`},
		"/type":              {"submit", "no.such", "{}"},
		"no JSON":            {"submit", "debug.echo", "{"},
		"not the id":         {"get", "no-such-job"},
		"404":                {"get", "0198c0de-0000-7000-8000-000000000001"},
		"409":                {"cancel", waiting},
		"parameter state":    {"list", "--state", "done"},
		"an API key is need": {"list", "--token-file", filepath.Join(data, "nothing")},
	} {
		code, out, errs := d.jobs(data, "", args...)
		if code != 1 || !strings.Contains(errs, says) || strings.Contains(errs, d.key) ||
			args[0] == "list" && out != "" {
			t.Errorf("%v: exit code %d, want 1 and %q: %s%s", args, code, says, out, errs)
		}
	}
	code, out, errs := d.jobs(
		data,
		"",
		"cancel",
		"no-such-job",
		strings.TrimSpace(must("", "submit", "debug.echo", "--delay", "1h")),
	)
	if code != 1 || !regexp.MustCompile(`^\S+\tcanceled\n$`).MatchString(out) ||
		!strings.Contains(errs, `"no-such-job" is not the id of a job`) {
		t.Errorf("one of two: exit code %d: %s%s", code, out, errs)
	}
}

// A key is sent to the API that was named, and not to where it redirects.
func TestTheKeyIsSentNowhereElse(t *testing.T) {
	t.Parallel()
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	api := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer api.Close()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("wb_secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := (Program{}).Run(
		t.Context(),
		[]string{"jobs", "list", "--url", api.URL, "--token-file", key},
		strings.NewReader(""),
		&out,
		&errs,
	)
	if code != 1 || asked || !strings.Contains(errs.String(), "307") {
		t.Errorf("exit code %d, asked elsewhere: %t: %s", code, asked, errs.String())
	}
}
