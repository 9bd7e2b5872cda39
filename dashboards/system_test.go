package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/waybill/waybill/internal/testenv"
)

// system is a deployment: real processes, as an operator would start them.
type system struct {
	t          *testing.T
	bin        string
	environ    []string
	api, token string
	workers    []int // their ports
	running    []*program
	prometheus prometheus
}

func startSystem(t *testing.T) *system {
	t.Helper()
	redis := testenv.Redis(t, "--maxmemory", "256mb")
	s := &system{t: t, bin: t.TempDir(), workers: []int{testenv.FreePort(t), testenv.FreePort(t)}}
	s.environ = []string{
		"DATABASE_URL=" + testenv.Postgres(
			t,
		), "REDIS_URL=" + redis.URL, "WAYBILL_JWT_KEYS=k1:c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=",
		"WAYBILL_LOG_LEVEL=warn", "WAYBILL_CANCEL_GRACE=0s", "WAYBILL_SHUTDOWN_GRACE=1s", "HOME=" + os.Getenv("HOME"),
		"PATH=" + os.Getenv("PATH"),
	}
	build := exec.CommandContext(
		t.Context(),
		"go",
		"build",
		"-ldflags=-s -w",
		"-o",
		s.bin,
		"../cmd/api",
		"../cmd/worker",
		"../cmd/waybill",
	)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s.waybill("", "migrate", "up")
	s.waybill("correct horse battery", "admin", "create", "--email", "root@example.com", "--password-stdin")
	port := testenv.FreePort(t)
	s.api = address(port)
	start(t, s.environ, filepath.Join(s.bin, "api"), nil, "WAYBILL_ADDR="+address(port))
	s.startWorkers()
	s.ready(s.api)
	s.token = s.call("POST", "/v1/auth/login",
		object{"email": "root@example.com", "password": "correct horse battery"})["access_token"].(string)
	s.startPrometheus(port)
	return s
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// waybill runs the operator's command to its end.
func (s *system) waybill(stdin string, args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "waybill"), args...)
	cmd.Env, cmd.Stdin = s.environ, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("waybill %v: %v\n%s", args, err, out)
	}
}

func (s *system) startWorkers() {
	for _, port := range s.workers {
		s.running = append(
			s.running,
			start(s.t, s.environ, filepath.Join(s.bin, "worker"), nil, "WAYBILL_METRICS_ADDR="+address(port)),
		)
		s.ready(address(port))
	}
}

func (s *system) stopWorkers() {
	for _, p := range s.running {
		p.stop()
	}
	s.running = nil
}

func (s *system) ready(addr string) {
	s.t.Helper()
	testenv.EventuallyNoError(s.t, 30*time.Second, func() error {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", addr, resp.Status)
		}
		return nil
	}, "it is ready")
}

func (s *system) startPrometheus(api int) {
	s.t.Helper()
	dir, port := s.t.TempDir(), testenv.FreePort(s.t)
	config := filepath.Join(dir, "prometheus.yml")
	write(s.t, config, s.configuration(dir, api))
	path, err := exec.LookPath("prometheus")
	if err != nil {
		s.t.Fatal("prometheus is missing; install it, on Debian with: apt-get install prometheus")
	}
	s.prometheus = prometheus{"http://" + address(port)}
	start(
		s.t,
		s.environ,
		path,
		[]string{
			"--config.file=" + config,
			"--storage.tsdb.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=" + address(port),
			"--log.level=warn",
		},
	)
	testenv.EventuallyNoError(s.t, 30*time.Second, func() error {
		resp, err := http.Get(s.prometheus.url + "/-/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	}, "prometheus is ready")
}

// configuration is the repository's own, with the addresses of this test in place of names, in a
// hurry, and with alerts that wait for 2 s only.
func (s *system) configuration(dir string, api int) []byte {
	s.t.Helper()
	text, err := os.ReadFile("../prometheus.yml")
	if err != nil {
		s.t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		s.t.Fatal(err)
	}
	config["global"] = object{"scrape_interval": "1s", "evaluation_interval": "1s"}
	targets := map[string][]string{
		"waybill-api":    {address(api)},
		"waybill-worker": {address(s.workers[0]), address(s.workers[1])},
	}
	for _, c := range config["scrape_configs"].([]any) {
		job := c.(map[string]any)
		delete(job, "dns_sd_configs")
		job["static_configs"] = []object{{"targets": targets[job["job_name"].(string)]}}
	}
	alerts := Alerts()
	for i := range alerts {
		alerts[i].For = min(alerts[i].For, 2*time.Second)
	}
	rules, err := Rules(alerts)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(dir, "rules", "waybill.yml"), rules)
	return marshal(s.t, config)
}

// load submits a mix of jobs until the test ends: all outcomes, all queues.
func (s *system) load() {
	s.call(
		"POST",
		"/v1/schedules",
		object{"name": "load", "every": "1s", "job": object{"type": "debug.echo", "payload": object{}}},
	)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				s.submit(i)
			}
		}
	})
	s.t.Cleanup(func() { close(stop); done.Wait() })
}

func (s *system) submit(i int) {
	queue := []string{"critical", "default", "low"}[i%3]
	post := func(job object) map[string]any { return s.call("POST", "/v1/jobs", job) }
	post(object{"type": "debug.echo", "queue": queue, "payload": object{"i": i}})
	switch i % 20 {
	case 0:
		post(
			object{
				"type":    "debug.fail",
				"queue":   queue,
				"payload": object{"times": 1},
				"backoff": object{"kind": "fixed", "base": "1s", "max": "1s"},
			},
		)
	case 5:
		post(object{"type": "debug.fail", "queue": queue, "payload": object{"permanent": true}})
	case 10:
		post(object{"type": "debug.sleep", "queue": queue, "payload": object{"duration": "2s"}})
		post(
			object{
				"type":        "debug.sleep",
				"queue":       queue,
				"payload":     object{"duration": "3s", "ignore_cancel": true},
				"timeout":     "1s",
				"max_retries": 0,
			},
		)
	case 15:
		id := post(object{"type": "debug.echo", "queue": queue, "payload": object{}, "delay": "1h"})["id"]
		s.call("POST", fmt.Sprintf("/v1/jobs/%v/cancel", id), nil)
		s.call("POST", fmt.Sprintf("/v1/jobs/%v/retry", id), nil)
	}
}

// call answers a JSON object; what is refused is an error of the test, which goes on.
func (s *system) call(method, path string, body object) map[string]any {
	text, _ := json.Marshal(body) // strings and numbers
	req, err := http.NewRequest(method, "http://"+s.api+path, bytes.NewReader(text))
	if err != nil {
		s.t.Error(err)
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	var out map[string]any
	if err := json.Unmarshal(answer, &out); err != nil || resp.StatusCode >= 300 {
		s.t.Errorf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	return out
}

// program is a process that ends with the test.
type program struct {
	cmd  *exec.Cmd
	once sync.Once
}

func start(t *testing.T, environ []string, path string, args []string, more ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(path, args...)}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(environ[:len(environ):len(environ)], more...), t.Output(), t.Output()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

func (p *program) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() }).Stop()
		_ = p.cmd.Wait()
	})
}
