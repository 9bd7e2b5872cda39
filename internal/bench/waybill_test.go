package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/bench/peer"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

// asPeer makes the test's program a process of bare asynq.
const asPeer = "bench-peer"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asPeer {
		if err := peer.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// deployed is a Waybill with API and worker in one process.
func deployed(t *testing.T, redisURL string) Deployment {
	t.Helper()
	cfg, err := config.Parse(
		[]string{"DATABASE_URL=" + testenv.Postgres(t), "REDIS_URL=" + redisURL, "WAYBILL_METRICS_ADDR=127.0.0.1:0",
			"WAYBILL_JWT_KEYS=k:" + base64.StdEncoding.EncodeToString(
				[]byte("a signing key that only tests use"),
			)},
		"DATABASE_URL",
		"REDIS_URL",
	)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(
		t.Context(),
		cfg,
		app.Options{API: app.ServeAPI, Worker: true, Migrate: true, Listen: l},
		testenv.Logger(t),
	)
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.EnsureAdmin(t.Context(), "admin@example.com", "the administrator's password", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	base := "http://" + l.Addr().String()
	return Deployment{
		URL:      base,
		Token:    func(context.Context) (string, error) { return key, nil },
		Queue:    "low",
		API:      []string{base + "/metrics"},
		Workers:  []string{base + "/metrics"},
		RedisURL: redisURL,
	}
}

func TestEveryMeasurementOfEverySystemFillsItsLine(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Connections: 4,
		Jobs:        30,
		Batch:       10,
		Rate:        100,
		Runs:        1,
		Latency:     100 * time.Millisecond,
		Rest:        10 * time.Millisecond,
	}
	redisURL := testenv.Redis(t).URL
	ours, end, err := Waybill(cfg, deployed(t, redisURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peers, end, err := Asynq(cfg, redisURL, self, asPeer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	var out bytes.Buffer
	if err := Run(t.Context(), cfg, append([]System{ours}, peers...), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, want := range []string{"single Waybill", "bare asynq", "asynq's client alone", "batch Waybill",
		"drain Waybill", "bare asynq", "through Waybill", "bare asynq",
		"latency Waybill", "until settled", "bare asynq", "API MB", "Waybill", "bare asynq"} {
		for len(lines) > 0 && !strings.HasPrefix(strings.Join(strings.Fields(lines[0]), " "), want) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			t.Fatalf("there is no line %q, or not in its place, in\n%s", want, out.String())
		}
		lines = lines[1:]
	}
}

func TestResultsAreWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Connections: 4,
		Jobs:        25,
		Batch:       10,
		Rate:        100,
		Runs:        1,
		Latency:     100 * time.Millisecond,
		Rest:        10 * time.Millisecond,
	}
	ours, end, err := Waybill(cfg, deployed(t, testenv.Redis(t).URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	for name, want := range map[string]struct{ jobs, latencies int }{
		Single: {25, 25}, Batch: {80, 8}, Drain: {30, 0}, Through: {25, 0}, Latency: {10, 10},
	} {
		r, err := ours.Measure[name](t.Context())
		if err != nil || r.Jobs != want.jobs || len(r.Latency) != want.latencies || r.Took <= 0 || r.CPU[Redis] < 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		for i := range r.Bound {
			if r.Latency[i] <= 0 || r.Bound[i] < r.Latency[i] {
				t.Errorf("%s: job %d was claimed after %v and settled after %v", name, i, r.Latency[i], r.Bound[i])
			}
		}
	}
}

func TestAMistakeIsToldBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	good := Config{Connections: 1, Jobs: 1, Batch: 1, Rate: 1, Runs: 1, Latency: 1, Rest: 1}
	for name, change := range map[string]func(*Config){
		"no runs": func(c *Config) { c.Runs = 0 }, "no jobs": func(c *Config) { c.Jobs = 0 },
		"no rest":               func(c *Config) { c.Rest = 0 },
		"a strange measurement": func(c *Config) { c.Only = []string{"nonsense"} },
	} {
		cfg := good
		change(&cfg)
		if err := Run(t.Context(), cfg, nil, io.Discard); err == nil {
			t.Errorf("%s is no mistake", name)
		}
	}
}

func TestTheQueueIsOpenAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	at := deployed(t, testenv.Redis(t).URL)
	w := &waybill{at: at, meter: Meter{}}
	if err := w.signIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.held(t.Context(), 1, func() error { return io.ErrUnexpectedEOF }, nil); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	var queues struct {
		Data []struct {
			Name   string
			Paused bool
		}
	}
	if err := w.get(t.Context(), "/v1/queues", &queues); err != nil {
		t.Fatal(err)
	}
	for _, q := range queues.Data {
		if q.Paused {
			t.Errorf("%s is paused", q.Name)
		}
	}
	if len(queues.Data) == 0 {
		t.Error("no queues are shown")
	}
}

func TestBareAsynqAsksWhoCallsAndForWhat(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{cfg: Config{Connections: 1}}
	if err := b.start(testenv.Redis(t).URL, []string{self, asPeer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.api.end(); b.worker.end() })
	stranger := b.t
	stranger.bearer += "x"
	for _, c := range []struct {
		t    target
		body string
		want int
	}{
		{b.t, `{"type":"debug.echo","payload":{"n":1},"queue":"bench-asynq"}`, http.StatusAccepted},
		{b.t, `{"type":"debug.echo"}`, http.StatusUnprocessableEntity},
		{b.t, `{`, http.StatusUnprocessableEntity},
		{stranger, `{"type":"debug.echo","payload":{"n":1},"queue":"bench-asynq"}`, http.StatusUnauthorized},
	} {
		w, err := c.t.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status, answer, err := w.do(t.Context(), c.t.request("POST", "/v1/jobs", []byte(c.body)), nil); err != nil ||
			status != c.want {
			t.Errorf("%s: got %d %s, %v, want %d", c.body, status, answer, err, c.want)
		}
		w.close()
	}
}
