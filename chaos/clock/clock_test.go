//go:build clocks

// Package clock runs a deployment of real processes whose clocks differ and jump: two APIs, two
// workers, PostgreSQL and Redis, each by a clock of its own. `make clocks` runs it; the programs
// are built with another package time, which takes some minutes the first time.
package clock

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/internal/testenv/shift"
	"github.com/waybill/waybill/store"
)

// late is what a start may be late by on a machine that is busy with other things. What was
// measured is logged; the rule is two seconds.
const late = 20 * time.Second

// deployment is what all parts of one test share.
type deployment struct {
	*testing.T
	bin            string
	ledger, redis  *testenv.Clock
	env            []string
	sql            *pgx.Conn
	a, b           *api
	token, refresh string
}

// process is a program of Waybill and its clock.
type process struct {
	cmd   *exec.Cmd
	clock string
}

type api struct {
	*process
	url string
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{T: t, bin: t.TempDir(), ledger: testenv.NewClock(t), redis: testenv.NewClock(t)}
	d.build()
	database := d.ledger.Postgres()
	s, err := store.Open(t.Context(), store.Config{URL: database, Log: testenv.Logger(t)})
	d.must(err)
	_, err = s.Migrate(t.Context())
	d.must(err)
	d.must(s.Close())
	d.sql, err = pgx.Connect(t.Context(), database)
	d.must(err)
	t.Cleanup(func() { _ = d.sql.Close(context.Background()) })
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	d.env = append(
		os.Environ(),
		"DATABASE_URL="+database,
		"REDIS_URL="+d.redis.Redis(),
		"WAYBILL_REGISTRATION=open",
		"WAYBILL_CONCURRENCY=16",
		"WAYBILL_JWT_KEYS=k:"+base64.StdEncoding.EncodeToString(key),
		"WAYBILL_LOG_LEVEL=warn",
	)
	return d
}

func (d *deployment) build() {
	d.Helper()
	overlay, err := shift.Overlay(d.TempDir())
	d.must(err)
	cmd := exec.Command(
		"go",
		"build",
		"-overlay",
		overlay,
		"-tags",
		"nomsgpack,nosqlite",
		"-o",
		d.bin+string(filepath.Separator),
		"./cmd/api",
		"./cmd/worker",
	)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("%v\n%s", err, out)
	}
}

func (d *deployment) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *deployment) start(program string, ahead time.Duration, env ...string) *process {
	d.Helper()
	p := &process{clock: filepath.Join(d.TempDir(), "clock"), cmd: exec.Command(filepath.Join(d.bin, program))}
	d.must(shift.Set(p.clock, ahead))
	log := &bytes.Buffer{}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(
		append(slices.Clone(d.env), shift.Variable+"="+p.clock),
		env...), log, log
	d.must(p.cmd.Start())
	d.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if d.Failed() {
			d.Logf("%s, %v ahead, said:\n%s", program, ahead, log)
		}
	})
	return p
}

func (d *deployment) startAPI(ahead time.Duration) *api {
	d.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(d))
	a := &api{d.start("api", ahead, "WAYBILL_ADDR="+addr), "http://" + addr}
	testenv.Eventually(d, 2*time.Minute, func() bool {
		resp, err := http.Get(a.url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, "an API is ready")
	return a
}

func (d *deployment) startWorker(ahead time.Duration) *process {
	d.Helper()
	n := d.number("SELECT count(*) FROM workers")
	p := d.start("worker", ahead, "WAYBILL_METRICS_ADDR=127.0.0.1:0")
	testenv.Eventually(
		d,
		2*time.Minute,
		func() bool { return d.number("SELECT count(*) FROM workers") > n },
		"a worker beats",
	)
	return p
}

func (d *deployment) number(sql string, args ...any) (n float64) {
	d.Helper()
	d.must(d.sql.QueryRow(context.Background(), "SELECT ("+sql+")::float8", args...).Scan(&n))
	return n
}

// call asks an API and answers the status and the body.
func (d *deployment) call(a *api, method, path, body string) (int, map[string]any) {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, a.url+path, strings.NewReader(body))
	d.must(err)
	req.Header.Set("Content-Type", "application/json")
	if d.token != "" {
		req.Header.Set("Authorization", "Bearer "+d.token)
	}
	resp, err := http.DefaultClient.Do(req)
	d.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	d.must(err)
	var out map[string]any
	if len(text) > 0 {
		d.must(json.Unmarshal(text, &out))
	}
	return resp.StatusCode, out
}

func (d *deployment) want(status int, a *api, method, path, body string) map[string]any {
	d.Helper()
	got, out := d.call(a, method, path, body)
	if got != status {
		d.Fatalf("%s %s answers %d, want %d: %v", method, path, got, status, out)
	}
	return out
}

func (d *deployment) signIn(a *api) {
	d.Helper()
	d.token = ""
	out := d.want(
		200,
		a,
		"POST",
		"/v1/auth/login",
		`{"email":"ann@example.com","password":"correct horse battery staple"}`,
	)
	d.token, d.refresh = out["access_token"].(string), out["refresh_token"].(string)
}

// round submits jobs of each kind to both APIs, waits until they are finished, and checks when each
// began.
func (d *deployment) round(name string) {
	d.Helper()
	const each = 10
	ids := map[string][]string{}
	for i := range 2 * each {
		a := []*api{d.a, d.b}[i%2]
		at := d.number("SELECT extract(epoch FROM clock_timestamp())") + 3
		for kind, rest := range map[string]string{
			"immediate": `"type":"debug.echo","payload":{}`, "delayed": `"type":"debug.echo","payload":{},"delay":"2s"`,
			"retried": `"type":"debug.fail","payload":{"times":1},"backoff":{"kind":"fixed","base":"2s"}`,
			"planned": fmt.Sprintf(`"type":"debug.echo","payload":{},"run_at":"%s"`,
				time.UnixMicro(int64(at*1e6)).UTC().Format(time.RFC3339Nano)),
		} {
			ids[kind] = append(ids[kind], d.want(202, a, "POST", "/v1/jobs", "{"+rest+"}")["id"].(string))
		}
	}
	all := slices.Concat(ids["immediate"], ids["delayed"], ids["retried"], ids["planned"])
	testenv.Eventually(d, 3*time.Minute, func() bool {
		return d.number(
			"SELECT count(*) FROM outcomes WHERE state = 'completed' AND id = ANY ($1::uuid[])",
			all,
		) == float64(
			len(all),
		)
	}, "%s: all jobs are completed", name)
	for kind, due := range map[string]string{
		"immediate": "s.created_at", "delayed": "s.created_at + interval '2 seconds'", "planned": "o.run_at",
		"retried": "(SELECT max(at) FROM job_errors e WHERE e.job_id = o.id) + interval '1.6 seconds'",
		// 2 s, spread by a fifth at most
	} {
		from := " FROM outcomes o JOIN submissions s ON s.id = o.id WHERE o.id = ANY ($1::uuid[])"
		after := "extract(epoch FROM o.started_at - (" + due + "))"
		least, most := d.number(
			"SELECT min("+after+")"+from,
			ids[kind],
		), d.number(
			"SELECT max("+after+")"+from,
			ids[kind],
		)
		median := d.number("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY "+after+")"+from, ids[kind])
		d.Logf("%s: %s jobs began %.3f to %.3f s after their time, median %.3f s", name, kind, least, most, median)
		if least < 0 || most > late.Seconds() {
			d.Errorf("%s: %s jobs began %.3f to %.3f s after their time", name, kind, least, most)
		}
	}
}

func TestNoClockButTheLedgersDecides(t *testing.T) {
	d := deploy(t)
	d.a, d.b = d.startAPI(10*time.Minute), d.startAPI(-10*time.Minute)
	first := d.startWorker(-10 * time.Minute)
	second := d.startWorker(10 * time.Minute)
	d.want(
		201,
		d.a,
		"POST",
		"/v1/auth/register",
		`{"email":"ann@example.com","password":"correct horse battery staple"}`,
	)

	for _, from := range []*api{d.a, d.b} {
		d.signIn(from)
		d.want(200, d.a, "GET", "/v1/me", "")
		d.want(200, d.b, "GET", "/v1/me", "")
	}
	d.round("each process ten minutes off")
	for _, a := range []*api{d.a, d.b} {
		j := d.want(202, a, "POST", "/v1/jobs", `{"type":"debug.echo","payload":{}}`)
		id, err := job.ParseID(j["id"].(string))
		d.must(err)
		if off := time.Since(id.Time()); off.Abs() > time.Minute { // the ledger's clock is the machine's so far
			t.Errorf("an id is of %s", id.Time())
		}
	}

	d.must(shift.Set(d.a.clock, 0))
	d.must(shift.Set(first.clock, 10*time.Minute))
	d.must(shift.Set(second.clock, -5*time.Second))
	d.redis.Set(10 * time.Minute)
	d.round("after each clock but the ledger's jumped")

	d.ledger.Set(2 * time.Millisecond)
	d.round("the ledger 2 ms ahead")
	for _, to := range []time.Duration{10 * time.Minute, 5 * time.Second, -10 * time.Minute} {
		d.redis.Set(-to)
		d.ledger.Set(to)
		// The processes measure once a second; a token of just before a step is of the future.
		time.Sleep(2 * time.Second)
		d.signIn(d.a)
		d.round(fmt.Sprintf("after the ledger stepped to %v", to))
	}

	s := d.want(
		201,
		d.b,
		"POST",
		"/v1/schedules",
		`{"name":"often","every":"1s","job":{"type":"debug.echo","payload":{}}}`,
	)
	testenv.Eventually(t, time.Minute, func() bool {
		return d.number("SELECT count(*) FROM schedule_ticks WHERE schedule_id = $1", s["id"]) >= 5
	}, "five ticks")
	if n := d.number("SELECT count(*) FROM schedule_ticks t WHERE job_id IS NULL OR decided_at < planned_at OR " +
		"planned_at NOT BETWEEN now() - interval '2 minutes' AND now()"); n != 0 {
		t.Errorf("%v ticks were not decided by the ledger's clock, or have no job", n)
	}
	d.want(200, d.b, "POST", "/v1/schedules/"+s["id"].(string)+"/pause", `{}`)

	var running []string
	for range 12 {
		running = append(
			running,
			d.want(202, d.a, "POST", "/v1/jobs", `{"type":"debug.sleep","payload":{"duration":"20s"}}`)["id"].(string),
		)
	}
	testenv.Eventually(t, time.Minute, func() bool {
		return d.number(
			"SELECT count(DISTINCT worker_id) FROM open_jobs WHERE state = 'active' AND id = ANY ($1::uuid[])",
			running,
		) == 2
	}, "both workers run some")
	d.must(second.cmd.Process.Kill())
	d.ledger.Set(-20 * time.Minute) // ten minutes back
	began := time.Now()
	testenv.Eventually(t, time.Minute, func() bool {
		return d.number("SELECT count(*) FROM jobs WHERE interruptions > 0 AND id = ANY ($1::uuid[])", running) > 0 &&
			d.number(
				"SELECT count(DISTINCT worker_id) FROM open_jobs WHERE state = 'active' AND id = ANY ($1::uuid[])",
				running,
			) <= 1
	}, "the dead worker's jobs are taken back")
	t.Logf("the dead worker's jobs were taken back after %v", time.Since(began))
	testenv.Eventually(t, 3*time.Minute, func() bool {
		return d.number(
			"SELECT count(*) FROM outcomes WHERE state = 'completed' AND id = ANY ($1::uuid[])",
			running,
		) == float64(
			len(running),
		)
	}, "and run elsewhere")
}
