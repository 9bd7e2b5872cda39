package app_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/testenv"
)

// What stands in Redis is broken in every way at once, while jobs wait there: all of them run
// within a minute, and the metrics show it.
func TestEveryJobRunsWhateverWasDoneToItsTask(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+server.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	ids := append(b.submitMany(570, ""), b.submitMany(30, `,"delay":"4s"`)...)
	client, ctx := server.Client(t), t.Context()
	const q = "asynq:{default}:"
	testenv.Eventually(t, 20*time.Second, func() bool {
		return client.LLen(ctx, q+"pending").Val() == 570 && client.ZCard(ctx, q+"scheduled").Val() == 30
	}, "all are in Redis")
	scheduled := client.ZRange(ctx, q+"scheduled", 0, -1).Val()
	for i, id := range scheduled {
		switch i % 6 {
		case 0:
			client.Del(ctx, q+"t:"+id)
		case 1:
			client.HDel(ctx, q+"t:"+id, "msg")
		case 2:
			client.HSet(ctx, q+"t:"+id, "msg", "\xff")
		case 3:
			client.ZRem(ctx, q+"scheduled", id)
		case 4:
			client.Del(ctx, q+"t:"+id)
			client.Set(ctx, q+"t:"+id, "x", 0)
		case 5:
			client.Del(ctx, q+"t:"+id)
			client.ZRem(ctx, q+"scheduled", id)
		}
	}
	for i, id := range client.LRange(ctx, q+"pending", 0, -1).Val() {
		if i%10 == 0 {
			client.HDel(ctx, q+"t:"+id, "msg")
		}
	}
	client.Rename(ctx, q+"pending", q+"lost")
	client.Set(ctx, q+"retry", "x", 0)
	client.Set(ctx, "waybill:{default}:reconciler", "somebody", 0)
	began := time.Now()
	w := b.startWorker()
	var seen sync.Map
	testenv.EventuallyNoError(t, time.Minute, func() error {
		for _, kind := range []string{"missing", "stuck", "key"} {
			if w.metric(`waybill_divergent_jobs{kind="`+kind+`"}`) > 0 {
				seen.Store(kind, true)
			}
		}
		if n := b.count("SELECT count(*) FROM outcomes WHERE state = 'completed'"); n < len(ids) {
			return fmt.Errorf("%d of %d are completed", n, len(ids))
		}
		return nil
	}, "jobs do not run")
	t.Logf("all ran after %v", time.Since(began).Round(time.Second))
	c.check(t, ids)
	for _, kind := range []string{"missing", "stuck", "key"} {
		if _, ok := seen.Load(kind); !ok {
			t.Errorf("waybill_divergent_jobs never showed %q", kind)
		}
	}
	if n := b.count("SELECT count(*) FROM outcomes WHERE failures > 0 OR attempt > 1"); n > 0 {
		t.Errorf("%d jobs had more than one attempt", n)
	}
	b.expectLog("a key in redis has a wrong type")
}

// metric reads one series of a worker; 0 where it is not there.
func (p *process) metric(series string) (v float64) {
	p.b.Helper()
	_, text := p.watch("/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			_, _ = fmt.Sscan(rest, &v)
		}
	}
	return v
}

// watch asks what watches a worker.
func (p *process) watch(path string) (status int, text string) {
	p.b.Helper()
	resp, err := http.Get("http://" + p.WatchAddr().String() + path)
	if err != nil {
		p.b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.b.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

func (b *bench) expectLog(text string) {
	b.Helper()
	if !strings.Contains(b.journal.String(), text) {
		b.Errorf("the log does not say %q", text)
	}
}

func TestAWorkerThatLostItsDatabaseKeepsNothingFromTheOther(t *testing.T) {
	t.Parallel()
	pg, server := testenv.Postgres(t), testenv.Redis(t)
	b, c := tallied(t, "DATABASE_URL="+pg, "REDIS_URL="+server.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	addr := regexp.MustCompile(`@?([0-9.]+:[0-9]+)/`).FindStringSubmatch(pg)[1]
	link, err := proxy.New(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	well := b.cfg
	b.cfg.DatabaseURL = config.NewSecret(strings.Replace(pg, addr, link.Addr(), 1))
	cut := b.startWorker()
	b.cfg = well
	ids := b.submitMany(5, "")
	b.drained(5, 20*time.Second)
	link.Silence(true) // half open: nothing is refused
	ids = append(ids, b.submitMany(60, "")...)
	testenv.Eventually(
		t,
		30*time.Second,
		func() bool { return strings.HasPrefix(cut.readiness(), "not ready: ledger") },
		"the cut off worker is not ready",
	)
	other := b.startWorker()
	b.drained(65, 30*time.Second)
	if got := other.readiness(); got != "ready" {
		t.Errorf("the other worker says %q", got)
	}
	link.Silence(false)
	link.Cut()
	testenv.Eventually(t, 30*time.Second, func() bool { return cut.readiness() == "ready" }, "it is ready again")
	other.stop()
	ids = append(ids, b.submitMany(20, "")...)
	b.drained(85, 30*time.Second)
	c.check(t, ids)
	server.Stop()
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return cut.readiness() == "not ready: redis" },
		"without Redis it is not ready",
	)
	server.Start()
	testenv.Eventually(t, 10*time.Second, func() bool { return cut.readiness() == "ready" }, "with Redis it is ready")
}

// readiness is what /readyz of a worker says.
func (p *process) readiness() string {
	_, text := p.watch("/readyz")
	return text
}

// While a release that brings a task type is rolled out, only some workers know it.
func TestJobsOfATypeThatOneOfThreeWorkersKnowsAllRunThere(t *testing.T) {
	t.Parallel()
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+testenv.Redis(t).URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	types := b.types
	b.types = nil
	first, _ := b.startWorker(), b.startWorker()
	ids := b.submitMany(30, "")
	testenv.Eventually(
		t,
		20*time.Second,
		func() bool { return first.metric(`waybill_tasks_unknown_type_total{queue="default"}`) > 0 },
		"it is counted",
	)
	var v view
	b.read(b.ask(ask{path: "/v1/jobs/" + ids[0], as: b.admin.key}).want(b, 200), &v)
	if v.State != "pending" {
		t.Errorf("a job that waits for a worker is %s", v.State)
	}
	b.types = types
	b.startWorker()
	b.drained(30, 2*time.Minute)
	c.check(t, ids)
	if n := b.count("SELECT count(*) FROM outcomes WHERE state = 'completed' AND attempt = 1 AND failures = 0 AND " +
		"delivery = 1"); n != 30 {
		t.Errorf("%d of 30 ran at the first attempt", n)
	}
	b.expectLog("does not know a task type")
}

func TestTwoDeploymentsShareNoRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	first, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+server.URL)
	first.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	ids := first.submitMany(5, "")
	first.drained(5, 20*time.Second)

	second := newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+server.URL)
	for name, o := range map[string]app.Options{"api": {API: app.ServeAPI, Migrate: true},
		"worker": {Worker: true, Migrate: true}} {
		if _, err := app.New(t.Context(), second.cfg, o,
			slog.New(slog.NewTextHandler(second.journal, nil))); err == nil ||
			!strings.Contains(err.Error(), "another Waybill deployment") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := app.Fsck(t.Context(), second.cfg, app.FsckOptions{}); err == nil ||
		!strings.Contains(err.Error(), "another Waybill deployment") {
		t.Errorf("fsck: got %v", err)
	}
	if found, err := app.Fsck(t.Context(), first.cfg, app.FsckOptions{}); err != nil || len(found) > 0 {
		t.Errorf("fsck of the one that has it: %v, %v", found, err)
	}

	// Taken over on purpose: the first one stops at once, and loses nothing.
	if _, err := app.Fsck(t.Context(), second.cfg, app.FsckOptions{TakeOver: true}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return first.ask(ask{path: "/readyz"}).status == 503 },
		"the first is not ready",
	)
	ids = append(ids, first.submitMany(5, "")...)
	first.expectLog("belongs to another deployment")
	if n := server.Client(t).LLen(t.Context(), "asynq:{default}:pending").Val(); n != 0 {
		t.Errorf("%d tasks were sent to a Redis of another deployment", n)
	}
	if _, err := app.Fsck(t.Context(), first.cfg, app.FsckOptions{TakeOver: true}); err != nil {
		t.Fatal(err)
	}
	first.drained(10, 30*time.Second)
	c.check(t, ids)
	if n := len(server.Client(t).Keys(t.Context(), "asynq:{default}:t:*").Val()); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}

// The line of docs/security.md gives a user all that Waybill needs, and nothing else.
func TestTheLeastRightsInTheDocsAreEnough(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("(?m)^ACL SETUSER waybill .*$").FindString(string(docs))
	if line == "" {
		t.Fatal("docs/security.md has no line ACL SETUSER waybill")
	}
	server := testenv.Redis(t)
	fields := strings.Fields(strings.Replace(line, "PASSWORD", "s3cret", 1))
	args := make([]any, len(fields))
	for i, f := range fields {
		args[i] = f
	}
	client := server.Client(t)
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	b, c := tallied(
		t,
		"DATABASE_URL="+testenv.Postgres(t),
		"REDIS_URL="+strings.Replace(server.URL, "redis://", "redis://waybill:s3cret@", 1),
	)
	*b.secrets = append(*b.secrets, "s3cret")
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	ids := append(b.submitMany(100, ""), b.submitMany(10, `,"delay":"2s"`)...)
	b.drained(110, 30*time.Second)
	c.check(t, ids)
	held := b.submit(with(`"delay":"1h"`))
	cookie := b.browse(b.admin)
	for _, path := range []string{"/monitor/api/queues", "/monitor/api/queues/default", "/monitor/api/servers",
		"/monitor/api/redis_info",
		"/monitor/api/queues/default/scheduled_tasks", "/monitor/api/queues/default/active_tasks",
		"/monitor/api/queue_stats", "/monitor/api/scheduler_entries"} {
		b.ask(ask{path: path, head: []string{"Cookie: " + cookie}}).want(b, 200)
	}
	client.HDel(t.Context(), "asynq:{default}:t:"+held+".1", "msg")
	for _, repair := range []bool{true, false} {
		if _, err := app.Fsck(t.Context(), b.cfg, app.FsckOptions{Repair: repair}); err != nil {
			t.Errorf("fsck: %v", err)
		}
	}
	log := client.Do(t.Context(), "acl", "log").Val()
	if denied, ok := log.([]any); !ok || len(denied) > 0 {
		t.Errorf("Redis denied: %v", log)
	}
	if err := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "waybill",
		Password: "s3cret"}).FlushAll(t.Context()).Err(); err == nil {
		t.Error("the user may empty Redis")
	}
}
