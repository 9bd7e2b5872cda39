package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/testenv"
)

func TestJobsAreTakenWhileRedisIsGoneAndRunWhenItIsBack(t *testing.T) {
	t.Parallel()
	redis := testenv.Redis(t)
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+redis.URL)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	before := b.submitMany(10, "")
	b.drained(10, 20*time.Second)
	redis.Stop()
	during := b.submitMany(50, "")
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return strings.Contains(b.journal.String(), "sending failed") },
		"nobody notices",
	)
	during = append(during, b.submitMany(50, "")...)
	if len(during) != 100 {
		t.Fatalf("%d of 100 were accepted", len(during))
	}
	b.token(b.admin) // signing in works too
	b.ask(ask{path: "/v1/jobs?limit=1", as: b.admin.key}).want(b, 200)
	b.ask(ask{path: "/readyz"}).want(b, 200)
	redis.Start()
	b.drained(110, 10*time.Second)
	c.check(t, append(before, during...))
}

func TestNothingThatWaitsIsLostWithRedis(t *testing.T) {
	t.Parallel()
	redis := testenv.Redis(t)
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+redis.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	var made struct{ Data []view }
	item := `{"type":"test.tally","payload":{"n":1}}`
	b.read(
		b.ask(ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: "[" + item +
			strings.Repeat(","+item, 1999) + "]"}).
			want(b, 202),
		&made,
	)
	client := redis.Client(t)
	testenv.EventuallyNoError(t, 20*time.Second, func() error {
		n, err := client.LLen(t.Context(), "asynq:{default}:pending").Result()
		if err == nil && n != 2000 {
			err = fmt.Errorf("%d are there", n)
		}
		return err
	}, "2,000 tasks are not in Redis")
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.startWorker()
	b.drained(2000, 60*time.Second)
	ids := make([]string, len(made.Data))
	for i, v := range made.Data {
		ids[i] = v.ID
	}
	c.check(t, ids)
}

// pg_dump, a slow VACUUM or an application may keep a transaction open beside Waybill, as the same
// role, for hours.
func TestAForeignTransactionKeepsNothingFromBeingSentAgain(t *testing.T) {
	t.Parallel()
	redis := testenv.Redis(t)
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t)+"&application_name=mine", "REDIS_URL="+redis.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	foreign := b.connect()
	execute(t, foreign, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	execute(t, foreign, "CREATE TABLE theirs (n int)") // it has an id of its own too
	ids := b.submitMany(300, "")
	client := redis.Client(t)
	testenv.Eventually(t, 20*time.Second, func() bool {
		n, err := client.LLen(t.Context(), "asynq:{default}:pending").Result()
		return err == nil && n == 300
	}, "300 tasks are not in Redis")
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.startWorker()
	b.drained(300, time.Minute)
	c.check(t, ids)
	execute(t, foreign, "COMMIT")
}

func TestWithoutPostgreSQLNothingIsPromisedAndWithItAllGoesOn(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresServer(t)
	b, c := tallied(t, "DATABASE_URL="+pg.URL, "REDIS_URL="+testenv.Redis(t).URL)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	session := b.browse(b.admin)
	b.token(b.admin)
	ids := b.submitMany(50, "")
	b.drained(50, 30*time.Second)
	known := b.submit(with(`"delay":"1h"`))
	pg.Stop(testenv.Fast)
	routes := []ask{
		{
			method: "POST",
			path:   "/v1/jobs",
			body:   echo,
		}, {method: "POST", path: "/v1/jobs/batch", body: "[" + echo + "]"}, {path: "/v1/jobs"},
		{path: "/v1/jobs/" + known},
		{
			path: "/v1/jobs/" + known + "?wait=1s",
		}, {method: "POST", path: "/v1/jobs/" + known + "/cancel", media: "-"}, {method: "POST",
			path: "/v1/jobs/" + known + "/retry", media: "-"},
		{
			path: "/v1/queues",
		}, {method: "POST", path: "/v1/queues/low/pause", body: `{"reason":"a test"}`},
		{method: "POST", path: "/v1/queues/low/resume", media: "-"},
		{
			path: "/v1/schedules",
		}, {path: "/v1/me"}, {path: "/v1/users"}, {path: "/v1/audit"}, {path: "/v1/api-keys"},
		{method: "POST", path: "/v1/api-keys",
			body: `{"name":"k"}`},
		{method: "PATCH", path: "/v1/me", body: `{"name":"x"}`}, {method: "POST", path: "/v1/users",
			body: `{"email":"x@example.com","password":"12345678","role":"user"}`},
		{
			method: "POST",
			path:   "/v1/auth/login",
			body:   credentials("admin@example.com", b.admin.password),
		}, {method: "POST", path: "/v1/auth/register",
			body: credentials("new@example.com", "a new password")},
		{
			method: "POST",
			path:   "/v1/auth/refresh",
			body:   `{"refresh_token":"` + b.admin.refresh + `"}`,
		}, {method: "POST", path: "/v1/auth/logout",
			body: `{"refresh_token":"` + b.admin.refresh + `"}`},
		{
			path: "/readyz",
		}, {method: "POST", path: "/monitor/api/queues/low:pause", media: "-", head: []string{"Cookie: " + session}},
	}
	for round := range 2 {
		for _, to := range routes {
			if !strings.HasPrefix(to.path, "/v1/auth") && strings.HasPrefix(to.path, "/v1") {
				to.as = b.admin.access
			}
			r := b.ask(to)
			if to.path == "/v1/me" && to.method == "" && r.status == 200 {
				continue // known for a moment longer
			}
			if r.status != http.StatusServiceUnavailable ||
				!strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("round %d: %s %s: %d %s", round, to.method, to.path, r.status, r.body)
			}
			if r.took > 10*time.Second {
				t.Errorf("%s %s took %v", to.method, to.path, r.took)
			}
		}
	}
	for _, path := range []string{"/healthz", "/openapi.yaml", "/metrics"} {
		b.ask(ask{path: path}).want(b, 200)
	}
	pg.Start()
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return b.ask(ask{path: "/readyz"}).status == 200 },
		"it is not ready again",
	)
	more := b.submitMany(50, "")
	b.ask(ask{method: "POST", path: "/v1/jobs/" + known + "/cancel", as: b.admin.key, media: "-"}).want(b, 200)
	testenv.EventuallyNoError(t, 30*time.Second, func() error {
		open, err := b.ledger().OpenCounts(t.Context())
		if err == nil && len(open) > 0 {
			err = fmt.Errorf("open: %v", open)
		}
		return err
	}, "jobs are not finished")
	c.check(t, append(ids, more...))
}
