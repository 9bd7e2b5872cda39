package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

// devProcess is a running `waybill dev`.
type devProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string
	key   string
	redis string
	curl  []string // the lines to paste
	errs  string   // the file of its standard error
}

// startDev returns when it has printed how to use it. Its data folder is data, what it finds on
// PATH is in path.
func startDev(t *testing.T, data, path string, environ ...string) *devProcess {
	t.Helper()
	d := &devProcess{t: t, cmd: exec.Command(program(t, "waybill"), "dev", "--addr", "127.0.0.1:0", "--data", data)}
	d.cmd.Env = []string{"PATH=" + path, "HOME=" + data, "WAYBILL_LOG_LEVEL=warn"}
	d.cmd.Env = append(d.cmd.Env, environ...)
	errs, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errs.Close() })
	d.cmd.Stderr, d.errs = errs, errs.Name()
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	greeting := make(chan string, 1)
	go func() { greeting <- readGreeting(out) }()
	select {
	case text := <-greeting:
		d.understand(text)
	case <-time.After(startPatience):
		t.Fatal("it does not greet")
	}
	if t.Failed() {
		text, _ := os.ReadFile(errs.Name())
		t.Fatalf("stderr: %s", text)
	}
	return d
}

// readGreeting reads until both lines to paste are there.
func readGreeting(out io.Reader) string {
	var text strings.Builder
	for lines := bufio.NewScanner(out); strings.Count(text.String(), "curl ") < 2 && lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
	}
	return text.String()
}

func (d *devProcess) understand(text string) {
	find := func(pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
			return m[1]
		}
		d.t.Errorf("the greeting has no %s: %s", pattern, text)
		return ""
	}
	d.url, d.key, d.redis = find(`runs at (http://\S+)`), find(`Bearer (wb_\S+?)'`), find(`\(Redis: (.+)\)`)
	d.curl = regexp.MustCompile(`(?m)^ +(curl .*)$`).FindAllString(text, -1)
}

// kill ends it as a crash would, and waits until it is gone.
// stop ends it as Ctrl-C does.
func (d *devProcess) stop() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	if state, err := d.cmd.Process.Wait(); err != nil || state.ExitCode() != 0 {
		d.t.Errorf("it ended with %v: %v", state, err)
	}
}

// log is what it wrote to standard error.
func (d *devProcess) log() string {
	d.t.Helper()
	text, err := os.ReadFile(d.errs)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

func (d *devProcess) kill() {
	_ = d.cmd.Process.Kill() // gone already: fine
	_ = d.cmd.Wait()
}

func (d *devProcess) call(method, path, body string) (answer string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		d.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
	return string(text)
}

// states counts the newest 200 jobs by state.
func (d *devProcess) states() map[string]int {
	d.t.Helper()
	var page struct {
		Data []struct{ State string }
	}
	if err := json.Unmarshal([]byte(d.call("GET", "/v1/jobs?limit=200", "")), &page); err != nil {
		d.t.Fatal(err)
	}
	n := map[string]int{}
	for _, j := range page.Data {
		n[j.State]++
	}
	return n
}

func TestDevGoesOnWhereItWasWhenItIsKilled(t *testing.T) {
	t.Parallel()
	for redis, path := range map[string]string{"redis-server": os.Getenv("PATH"), "built-in": ""} {
		t.Run(redis, func(t *testing.T) {
			t.Parallel()
			gate := newGate(t, 5)
			data := shortDir(t)
			d := startDev(t, data, path)
			if d.redis != redis {
				t.Fatalf("its Redis is %s", d.redis)
			}
			item := fmt.Sprintf(`{"type":"http.request","timeout":"10m","payload":{"url":%q}}`, gate.URL)
			d.call("POST", "/v1/jobs/batch", "["+item+strings.Repeat(","+item, 199)+"]")
			testenv.Eventually(
				t,
				time.Minute,
				func() bool { return d.states()["completed"] == 5 },
				"the first five are not done",
			)
			gate.waitForCaller(t)
			d.kill()
			key := d.key
			d = startDev(t, data, path)
			if before := d.states(); before["completed"] != 5 {
				t.Errorf("after the kill: %v", before)
			}
			if d.key != key {
				t.Error("its API key changed")
			}
			gate.open()
			testenv.EventuallyNoError(t, 2*time.Minute, func() error {
				if n := d.states(); n["completed"] != 200 {
					return fmt.Errorf("%v", n)
				}
				return nil
			}, "not all of 200 are completed")
		})
	}
}

// gate is an endpoint that answers the first few requests and holds the others until it is opened,
// so that what is under way when a process is killed doesn't depend on how fast the machine is.
type gate struct {
	*httptest.Server
	left    atomic.Int64 // requests that still pass
	held    chan struct{}
	opening chan struct{}
	open    func()
}

func newGate(t *testing.T, passes int64) *gate {
	t.Helper()
	g := &gate{held: make(chan struct{}, 1), opening: make(chan struct{})}
	g.left.Store(passes)
	g.open = sync.OnceFunc(func() { close(g.opening) })
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		g.open()
		g.Close()
	})
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.left.Add(-1) >= 0 {
		return // 200
	}
	select {
	case g.held <- struct{}{}:
	default: // one is enough
	}
	select {
	case <-g.opening:
	case <-r.Context().Done(): // the caller is gone
	}
}

// waitForCaller returns when a request is held.
func (g *gate) waitForCaller(t *testing.T) {
	t.Helper()
	select {
	case <-g.held:
	case <-time.After(time.Minute):
		t.Fatal("no job is under way")
	}
}

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A redis-server that ends with its parent may still be writing.
		testenv.EventuallyNoError(t, 10*time.Second, func() error { return os.RemoveAll(dir) }, "the folder stays")
	})
	return dir
}

func TestTheLinesThatDevPrintsWorkAsPasted(t *testing.T) {
	t.Parallel()
	d := startDev(t, shortDir(t), os.Getenv("PATH"))
	if len(d.curl) != 2 {
		t.Fatalf("%d lines to paste: %q", len(d.curl), d.curl)
	}
	paste := func(line string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v %s (this test needs curl: apt-get install curl)", line, err, out)
		}
		return string(out)
	}
	var made struct{ ID, State string }
	if err := json.Unmarshal([]byte(paste(d.curl[0])), &made); err != nil || made.State != "pending" {
		t.Fatalf("%+v: %v", made, err)
	}
	testenv.EventuallyNoError(t, 20*time.Second, func() error {
		var page struct {
			Data []struct{ ID, State string }
		}
		text := paste(d.curl[1])
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			return err
		}
		if len(page.Data) != 1 || page.Data[0].ID != made.ID || page.Data[0].State != "completed" {
			return fmt.Errorf("%s", text)
		}
		return nil
	}, "the job is not completed")
	var done struct {
		Result struct {
			Status int
			Body   string
		}
	}
	text := d.call("GET", "/v1/jobs/"+made.ID, "")
	if err := json.Unmarshal([]byte(text), &done); err != nil || done.Result.Status != 200 ||
		!strings.Contains(done.Result.Body, `"received":true`) {
		t.Errorf("%v in %s", err, text)
	}
	if inbox := d.call("GET", "/dev/inbox", ""); !strings.Contains(inbox, made.ID) ||
		!strings.Contains(inbox, `"hello"`) {
		t.Errorf("the inbox shows %s", inbox)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it did not stop cleanly: %v", err)
	}
}

func TestASecondDevIsKeptOutOfTheDataFolder(t *testing.T) {
	t.Parallel()
	data := shortDir(t)
	d := startDev(t, data, os.Getenv("PATH"))
	code, _, errs := ends(
		t,
		[]string{"PATH=" + os.Getenv("PATH")},
		"",
		"waybill",
		"dev",
		"--addr",
		"127.0.0.1:0",
		"--data",
		data,
	)
	if code != 1 || !strings.Contains(errs, "another waybill dev uses the data folder") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	d.call("GET", "/v1/me", "")
}

// Whatever its Redis is: nothing that newcomers would have to wonder about, and figures that are
// numbers.
func TestDevHasNothingToComplainOfOnACleanStart(t *testing.T) {
	t.Parallel()
	for kind, path := range map[string]string{"redis-server": os.Getenv("PATH"), "built-in": ""} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := startDev(t, shortDir(t), path)
			if d.redis != kind {
				t.Fatalf("its Redis is %s", d.redis)
			}
			d.call("POST", "/v1/jobs", `{"type":"debug.echo","payload":{}}`)
			testenv.EventuallyNoError(t, time.Minute, func() error {
				text := d.call("GET", "/metrics", "")
				if !regexp.MustCompile(`(?m)^waybill_redis_memory_used_bytes [1-9]`).MatchString(text) {
					return errors.New("the metrics do not say what Redis uses")
				}
				if n := d.states(); n["completed"] != 1 {
					return fmt.Errorf("%v", n)
				}
				return nil
			}, "it does not work")
			d.stop()
			if text := d.log(); text != "" {
				t.Errorf("it says: %s", text)
			}
		})
	}
}

func TestDevSaysWhatItWaitsForWhenItStops(t *testing.T) {
	t.Parallel()
	d := startDev(t, shortDir(t), "", "WAYBILL_LOG_LEVEL=info")
	gate := newGate(t, 0)
	d.call("POST", "/v1/jobs", fmt.Sprintf(`{"type":"http.request","payload":{"url":%q}}`, gate.URL))
	gate.waitForCaller(t)
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool {
		return strings.Contains(d.log(), "msg=stopping running_jobs=1") &&
			strings.Contains(d.log(), "waiting_for=worker running_jobs=1")
	}, "it does not say that it waits")
	gate.open()
	if state, err := d.cmd.Process.Wait(); err != nil || state.ExitCode() != 0 {
		t.Errorf("%v: %v", state, err)
	}
}
