package app_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "a long enough password"
)

// redisServers is a Redis of several servers, one of which can be taken away.
type redisServers interface {
	Kill(addr string)
	Start(addr string)
}

func TestNoJobIsLostWhenAMasterOfAClusterDies(t *testing.T) {
	t.Parallel()
	servers := testenv.Cluster(t)
	master := servers.MasterOf("asynq:{default}:pending")
	surviveFailover(
		t,
		servers,
		servers.URL,
		master,
		func() { servers.AwaitFailover("asynq:{default}:pending", master) },
	)
}

func TestNoJobIsLostWhenSentinelsReplaceTheMaster(t *testing.T) {
	t.Parallel()
	servers := testenv.Sentinels(t)
	master := servers.Master()
	surviveFailover(t, servers, servers.URL, master, func() { servers.AwaitFailover(master) })
}

// surviveFailover submits jobs without a pause while the master dies and another takes its place,
// and holds every one of them to the promise.
func surviveFailover(t *testing.T, servers redisServers, redisURL, master string, promoted func()) {
	d := newDeployment(t, redisURL)
	load := d.submitUntil(t)
	load.await(t, 100)
	servers.Kill(master)
	killed := time.Now()
	promoted()
	t.Logf("another master after %v", time.Since(killed).Round(time.Millisecond))
	load.await(t, 100)
	ids := load.stop(t)
	for _, id := range ids {
		j := d.job(t, id, time.Minute)
		if want := j.expectedFailures(); j.State != "completed" || j.Failures != want {
			t.Errorf(
				"job %s (%s): %s after %d failures, want completed after %d",
				id,
				j.Type,
				j.State,
				j.Failures,
				want,
			)
		}
	}
	t.Logf(
		"%d jobs, the last of them finished %v after the master died",
		len(ids),
		time.Since(killed).Round(time.Millisecond),
	)
	d.monitor(t)
	servers.Start(master)
	testenv.EventuallyNoError(t, time.Minute, d.clean, "ledger and Redis do not agree")
}

// deployment is an API and a worker in one process, on PostgreSQL and the given Redis.
type deployment struct {
	cfg config.Config
	url string
	key string
}

func newDeployment(t *testing.T, redisURL string) *deployment {
	t.Helper()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	cfg, err := config.Parse([]string{"DATABASE_URL=" + testenv.Postgres(t), "REDIS_URL=" + redisURL,
		"WAYBILL_JWT_KEYS=test:" + base64.StdEncoding.EncodeToString(
			secret,
		), "WAYBILL_CONCURRENCY=16", "WAYBILL_SHUTDOWN_GRACE=5s"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(
		t.Context(),
		cfg,
		app.Options{API: app.ServeAPI, Worker: true, Migrate: true, Listen: listener},
		testenv.Logger(t),
	)
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.EnsureAdmin(t.Context(), adminEmail, adminPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the deployment did not stop cleanly: %v", err)
		}
	})
	return &deployment{cfg: cfg, url: "http://" + listener.Addr().String(), key: key}
}

// monitor signs in and asks asynqmon what its pages ask.
func (d *deployment) monitor(t *testing.T) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	resp, err := browser.PostForm(d.url+"/login", url.Values{"email": {adminEmail}, "password": {adminPassword}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, path := range []string{"/monitor/", "/monitor/api/queues", "/monitor/api/queues/default/completed_tasks",
		"/monitor/api/servers", "/monitor/api/redis_info"} {
		testenv.EventuallyNoError(t, 10*time.Second, func() error {
			resp, err := browser.Get(d.url + path)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", resp.Status, text)
			}
			return nil
		}, "the monitor does not show %s", path)
	}
}

// jobAnswer is what a test reads of a job.
type jobAnswer struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	State    string          `json:"state"`
	Failures int             `json:"failures"`
	Payload  json.RawMessage `json:"payload"`
}

// expectedFailures is what the payload asks for: a fault of Redis may add none.
func (j jobAnswer) expectedFailures() int {
	if j.Type == "debug.fail" {
		return 1
	}
	return 0
}

func (d *deployment) call(ctx context.Context, method, path string, body []byte) (*jobAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	j := new(jobAnswer)
	return j, json.Unmarshal(text, j)
}

// job waits until the job is finished, no longer than patience, and reads it.
func (d *deployment) job(t *testing.T, id string, patience time.Duration) *jobAnswer {
	t.Helper()
	var j *jobAnswer
	testenv.EventuallyNoError(t, patience, func() (err error) {
		j, err = d.call(t.Context(), "GET", "/v1/jobs/"+id+"?wait=1s", nil)
		if err == nil && !slices.Contains([]string{"completed", "archived", "canceled"}, j.State) {
			err = fmt.Errorf("it is %s", j.State)
		}
		return err
	}, "job %s is not finished", id)
	return j
}

// clean says whether ledger and Redis agree, as `waybill fsck` sees it.
func (d *deployment) clean() error {
	found, err := app.Fsck(context.Background(), d.cfg, app.FsckOptions{})
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%d differences, the first: %+v", len(found), found[0])
	}
	return err
}

// load is a few clients that submit one job after another; every answer but a 2xx is an error,
// since Redis is not needed for one.
type load struct {
	end      chan struct{}
	clients  sync.WaitGroup
	accepted atomic.Int64
	mu       sync.Mutex
	ids      []string
	errs     []error
}

// mixture is submitted in turn: jobs at once, in every queue, later, and with a retry.
var mixture = []string{
	`{"type":"debug.echo","payload":{"a":1}}`,
	`{"type":"debug.echo","payload":{"a":2},"queue":"critical"}`,
	`{"type":"debug.echo","payload":{"a":3},"queue":"low"}`,
	`{"type":"debug.sleep","payload":{"duration":"200ms"}}`,
	`{"type":"debug.echo","payload":{"a":4},"delay":"2s"}`,
	`{"type":"debug.fail","payload":{"times":1},"backoff":{"kind":"fixed","base":"1s","max":"1s"}}`,
}

func (d *deployment) submitUntil(t *testing.T) *load {
	l := &load{end: make(chan struct{})}
	for n := range 4 {
		l.clients.Go(func() {
			for i := n; ; i++ {
				select {
				case <-l.end:
					return
				case <-time.After(20 * time.Millisecond):
				}
				l.submit(t.Context(), d, mixture[i%len(mixture)])
			}
		})
	}
	t.Cleanup(l.halt)
	return l
}

func (l *load) submit(ctx context.Context, d *deployment, body string) {
	j, err := d.call(ctx, "POST", "/v1/jobs", []byte(body))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	l.ids = append(l.ids, j.ID)
	l.accepted.Add(1)
}

// await returns when n more jobs were accepted.
func (l *load) await(t *testing.T, n int64) {
	t.Helper()
	target := l.accepted.Load() + n
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return l.accepted.Load() >= target },
		"%d more jobs were not accepted",
		n,
	)
}

func (l *load) halt() {
	select {
	case <-l.end:
	default:
		close(l.end)
	}
	l.clients.Wait()
}

// stop ends the load and answers what was accepted.
func (l *load) stop(t *testing.T) []string {
	t.Helper()
	l.halt()
	for _, err := range l.errs {
		t.Errorf("a submission was refused: %v", err)
	}
	return l.ids
}
