package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// tab is a browser that is signed in on the sign-in page.
type tab struct {
	b    *bench
	http *http.Client
}

func (b *bench) browser(p *person) *tab {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	c := client(b)
	c.Jar = jar
	t := &tab{b: b, http: c}
	res, err := c.PostForm(
		"http://"+b.addr+"/login",
		url.Values{"email": {p.Email}, "password": {p.password}, "next": {"/monitor/"}},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if page, err := io.ReadAll(res.Body); err != nil || res.Request.URL.Path != "/monitor/" ||
		!strings.Contains(string(page), p.Email) {
		b.Fatalf("signing in leads %s to %s: %.500s %v", p.Email, res.Request.URL, page, err)
	}
	return t
}

// do sends what the monitor's page would, and reads the answer into out.
func (t *tab) do(method, path, body string, want int, out any) {
	t.b.Helper()
	req, err := http.NewRequest(method, "http://"+t.b.addr+"/monitor/api/"+path, strings.NewReader(body))
	if err != nil {
		t.b.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := t.http.Do(req)
	if err != nil {
		t.b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && out != nil && res.StatusCode == want {
		err = json.Unmarshal(text, out)
	}
	if err != nil || res.StatusCode != want {
		t.b.Fatalf("%s %s: %d, want %d: %s %v", method, path, res.StatusCode, want, text, err)
	}
}

// tasks are the ids in one of a queue's lists, as the monitor shows them.
func (t *tab) tasks(queue, list string) (ids []string) {
	t.b.Helper()
	var page struct{ Tasks []struct{ ID string } }
	t.do("GET", "queues/"+queue+"/"+list+"_tasks?size=1000", "", 200, &page)
	for _, task := range page.Tasks {
		ids = append(ids, task.ID)
	}
	return ids
}

// shows waits until a list holds exactly these.
func (t *tab) shows(queue, list string, want ...string) {
	t.b.Helper()
	testenv.EventuallyNoError(t.b, 10*time.Second, func() error {
		if got := t.tasks(queue, list); strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Errorf("%q", got)
		}
		return nil
	}, "the list %s of %s is not %q", list, queue, want)
}

const failsOnce = `{"type":"debug.fail","payload":{"message":"no"},"backoff":{"kind":"fixed","base":"1h","max":"1h"}}`

func TestWhatOperatorsDoInTheMonitorReachesTheLedgerAndRedisFollows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.startWorker()
	tab := b.browser(b.join("olga", "operator"))

	id := b.submit(failsOnce)
	b.becomes(id, job.Retry)
	tab.shows("default", "retry", id+".1")
	tab.do("POST", "queues/default/retry_tasks/"+id+".1:run", "", 204, nil)
	tab.shows("default", "retry", id+".2")
	if v := b.becomes(id, job.Retry); v.Attempt != 2 {
		t.Errorf("after a run it is %+v", v)
	}
	tab.do("POST", "queues/default/retry_tasks/"+id+".2:archive", "", 204, nil)
	if v := b.becomes(id, job.Archived); !strings.Contains(
		fmt.Sprint(v.Errors),
		"archived by olga@example.com in the monitor false}",
	) {
		t.Errorf("archived, its errors are %v", v.Errors)
	}
	tab.shows("default", "archived", id+".2")
	tab.do("POST", "queues/default/archived_tasks:batch_run", `{"task_ids":["`+id+`.2"]}`, 200, nil)
	tab.shows("default", "archived")
	tab.shows("default", "retry", id+".3")
	tab.do("DELETE", "queues/default/retry_tasks/"+id+".3", "", 204, nil)
	b.becomes(id, job.Canceled)
	tab.shows("default", "retry")

	id = b.submit(`{"type":"debug.sleep","payload":{"duration":"1m"}}`)
	b.becomes(id, job.Active)
	tab.do("POST", "queues/default/active_tasks/"+id+".1:cancel", "", 204, nil)
	b.becomes(id, job.Canceled)
	tab.shows("default", "active")

	id = b.submit(`{"type":"debug.fail","payload":{"permanent":true}}`)
	b.becomes(id, job.Archived)
	tab.shows("default", "archived", id+".1")
	tab.do("DELETE", "queues/default/archived_tasks/"+id+".1", "", 204, nil)
	tab.shows("default", "archived")
	if v := b.job(id); v.State != job.Archived {
		t.Errorf("its task deleted, the archived job is %s", v.State)
	}
	if n := b.count(`SELECT count(*) FROM audit_log WHERE actor = 'olga@example.com' AND action LIKE 'task.%'`); n != 6 {
		t.Errorf("the audit log has %d of 6 deeds", n)
	}
}

func TestAllTasksOfAListAreDoneWithTheirJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tab := b.browser(b.join("olga", "operator"))
	const n = 300
	var jobs []string
	for range n {
		jobs = append(jobs, `{"type":"debug.echo","payload":{},"delay":"1h"}`)
	}
	b.ask(ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: "[" + strings.Join(jobs, ",") + "]"}).
		want(b, 202)
	testenv.Eventually(
		b,
		20*time.Second,
		func() bool { return len(tab.tasks("default", "scheduled")) == n },
		"not all tasks are in Redis",
	)
	var answer struct{ Deleted, Archived int }
	tab.do("POST", "queues/default/scheduled_tasks:archive_all", "", 200, &answer)
	if states := b.count(`SELECT count(*) FROM jobs WHERE state = 'archived'`); answer.Archived != n || states != n {
		t.Errorf("answered %+v, archived are %d", answer, states)
	}
	tab.do("DELETE", "queues/default/archived_tasks:delete_all", "", 200, &answer)
	if states := b.count(`SELECT count(*) FROM jobs WHERE state = 'archived'`); answer.Deleted != n || states != n {
		t.Errorf("answered %+v, archived are %d", answer, states)
	}
	tab.shows("default", "archived")
	b.ask(ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: "[" + strings.Join(jobs, ",") + "]"}).
		want(b, 202)
	testenv.Eventually(
		b,
		20*time.Second,
		func() bool { return len(tab.tasks("default", "scheduled")) == n },
		"not all tasks are in Redis",
	)
	tab.do("DELETE", "queues/default/scheduled_tasks:delete_all", "", 200, &answer)
	if states := b.count(`SELECT count(*) FROM jobs WHERE state = 'canceled'`); answer.Deleted != n || states != n {
		t.Errorf("answered %+v, canceled are %d", answer, states)
	}
	tab.shows("default", "scheduled")
}

func TestMetricsCountWhatOperatorsDoInTheMonitor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tab := b.browser(b.join("olga", "operator"))
	const body = `{"type":"debug.echo","payload":{},"delay":"1h"}`
	ids := []string{b.submit(body), b.submit(body), b.submit(body), b.submit(body), b.submit(body)}
	testenv.Eventually(
		b,
		20*time.Second,
		func() bool { return len(tab.tasks("default", "scheduled")) == len(ids) },
		"not all tasks are in Redis",
	)

	tab.do("POST", "queues/default/scheduled_tasks/"+ids[0]+".1:archive", "", 204, nil)
	tab.do("DELETE", "queues/default/scheduled_tasks/"+ids[1]+".1", "", 204, nil)
	tab.do("POST", "queues/default/scheduled_tasks/"+ids[2]+".1:run", "", 204, nil)
	tab.do("POST", "queues/default/scheduled_tasks:archive_all", "", 200, nil)
	tab.do("POST", "queues/default/archived_tasks:batch_run", `{"task_ids":["`+ids[0]+`.1"]}`, 200, nil)

	for _, line := range []string{
		`waybill_jobs_created_total{queue="default",type="debug.echo"} 5`,
		`waybill_jobs_settled_total{outcome="archived",queue="default",type="debug.echo"} 3`,
		`waybill_jobs_settled_total{outcome="canceled",queue="default",type="debug.echo"} 1`,
		`waybill_jobs_reopened_total{queue="default",type="debug.echo"} 1`,
	} {
		testenv.Eventually(
			t,
			20*time.Second,
			func() bool { return strings.Contains(scrape(t, "http://"+b.addr), line+"\n") },
			"the metrics lack %s",
			line,
		)
	}
	if open := b.count(`SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'archived', 'canceled')`); open != 5+
		1-3-1 {
		t.Errorf("the ledger has %d open jobs, the metrics say 2", open)
	}
}

func TestTheMonitorSaysOfTasksWhatTheirJobsSay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.startWorker()
	tab := b.browser(b.join("olga", "operator"))
	type task struct {
		ID       string `json:"id"`
		MaxRetry int    `json:"max_retry"`
		Retried  int    `json:"retried"`
		Timeout  int    `json:"timeout_seconds"`
		Error    string `json:"error_message"`
	}
	id := b.submit(
		`{"type":"debug.fail","payload":{"message":"no"},"max_retries":3,"timeout":"30s","backoff":{"kind":"fixed","base":"1h","max":"1h"}}`,
	)
	b.becomes(id, job.Retry)
	tab.shows("default", "retry", id+".1")
	var list struct{ Tasks []task }
	tab.do("GET", "queues/default/retry_tasks?size=20", "", 200, &list)
	var one task
	tab.do("GET", "queues/default/tasks/"+id+".1", "", 200, &one)
	want := task{ID: id + ".1", MaxRetry: 3, Retried: 1, Timeout: 30, Error: "no"}
	if one != want {
		t.Errorf("the task's page says %+v, want %+v", one, want)
	}
	if want.Timeout = 0; len(list.Tasks) != 1 || list.Tasks[0] != want {
		t.Errorf("the list says %+v, want %+v", list.Tasks, want)
	}

	id = b.submit(`{"type":"debug.fail","payload":{"permanent":true,"message":"never"}}`)
	b.becomes(id, job.Archived)
	tab.shows("default", "archived", id+".1")
	tab.do("GET", "queues/default/archived_tasks", "", 200, &list)
	if len(list.Tasks) != 1 || list.Tasks[0].Error != "never" || list.Tasks[0].MaxRetry != 25 {
		t.Errorf("the archive says %+v", list.Tasks)
	}
}

func TestTheMonitorListsSchedules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tab := b.browser(b.join("vera", "viewer"))
	var made struct{ ID string }
	b.ask(ask{method: "POST", path: "/v1/schedules", as: b.admin.key,
		body: `{"name":"nightly","cron":"0 3 * * *","timezone":"Europe/Berlin","job":{"type":"debug.echo","payload":{"a":1},"queue":"low"}}`}).
		want(b, 201).
		decode(b, &made)
	b.ask(ask{method: "POST", path: "/v1/schedules", as: b.admin.key,
		body: `{"name":"calls","every":"1h","job":{"type":"http.request","payload":{"url":"https://example.com","headers":{"X-Key":"TOPSECRET"}}}}`}).
		want(b, 201)
	b.ask(ask{method: "POST", path: "/v1/schedules/" + made.ID + "/trigger", as: b.admin.key}).want(b, 202)
	var answer struct {
		Entries []struct {
			ID, Spec string
			Type     string   `json:"task_type"`
			Payload  string   `json:"task_payload"`
			Options  []string `json:"options"`
			Next     string   `json:"next_enqueue_at"`
			Prev     string   `json:"prev_enqueue_at"`
		}
		Events []struct {
			TaskID string `json:"task_id"`
			At     string `json:"enqueued_at"`
		}
	}
	tab.do("GET", "scheduler_entries", "", 200, &answer)
	if len(answer.Entries) != 2 {
		t.Fatalf("the monitor lists %+v", answer.Entries)
	}
	calls, nightly := answer.Entries[0], answer.Entries[1]
	if nightly.ID != made.ID || nightly.Spec != "0 3 * * * Europe/Berlin" || nightly.Type != "debug.echo" ||
		nightly.Payload != `{"waybill":"see the schedule"}` ||
		nightly.Next == "" ||
		nightly.Prev == "" {
		t.Errorf("nightly: %+v", nightly)
	}
	if calls.Spec != "@every 1h0m0s" || strings.Contains(calls.Payload, "TOPSECRET") || calls.Prev != "" {
		t.Errorf("calls, seen by a viewer: %+v", calls)
	}
	tab.do("GET", "scheduler_entries/"+made.ID+"/enqueue_events", "", 200, &answer)
	if len(answer.Events) != 1 || answer.Events[0].At == "" {
		t.Errorf("the jobs of nightly: %+v", answer.Events)
	}
}

func TestAViewerReadsTheMonitorAndChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tab := b.browser(b.join("vera", "viewer"))
	id := b.submit(`{"type":"debug.echo","payload":{},"delay":"1h"}`)
	tab.shows("default", "scheduled", id+".1")
	before := b.census()
	for _, order := range []string{"POST queues/default/scheduled_tasks/" + id + ".1:run",
		"DELETE queues/default/scheduled_tasks/" + id + ".1",
		"DELETE queues/default/scheduled_tasks:delete_all", "POST queues/default:pause", "DELETE queues/default"} {
		method, path, _ := strings.Cut(order, " ")
		tab.do(method, path, "", 403, nil)
	}
	tab.shows("default", "scheduled", id+".1")
	if b.census() != before {
		t.Error("the ledger was changed")
	}
}

// queue reads one queue as the administrator.
func (b *bench) queue(name string) (q queueView) {
	b.Helper()
	var page struct{ Data []queueView }
	b.read(b.ask(ask{path: "/v1/queues", as: b.admin.key}).want(b, 200), &page)
	for _, q := range page.Data {
		if q.Name == name {
			return q
		}
	}
	b.Fatalf("no queue %s", name)
	return q
}

type queueView struct {
	Name        string
	Paused      bool
	PausedBy    string `json:"paused_by"`
	PauseReason string `json:"pause_reason"`
	Pending     int
	Workers     int
	Redis       *struct {
		Pending int
		Paused  bool
	}
}

func TestAPauseOutlivesAnEmptyRedis(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	b := newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+r.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	b.startWorker()
	olga := b.join("olga", "operator")
	b.ask(ask{method: "POST", path: "/v1/queues/low/pause", as: b.token(olga),
		body: `{"reason":"the mail server is down"}`}).
		want(b, 200)
	b.browser(olga).do("POST", "queues/critical:pause", "", 204, nil)
	c := r.Client(t)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{"low", "critical"} {
		testenv.Eventually(
			t,
			20*time.Second,
			func() bool { return c.Exists(t.Context(), "asynq:{"+queue+"}:paused").Val() == 1 },
			"%s is not paused again",
			queue,
		)
	}
	id := b.submit(`{"type":"debug.echo","queue":"low","payload":{}}`)
	testenv.Eventually(t, 20*time.Second, func() bool {
		q := b.queue("low")
		return q.Paused && q.PausedBy == "olga@example.com" && q.PauseReason == "the mail server is down" &&
			q.Pending == 1 &&
			q.Workers == 1 &&
			q.Redis != nil &&
			q.Redis.Paused
	}, "the queue is not as it should be: %+v", b.queue("low"))
	if v := b.job(id); v.State != job.Pending {
		t.Errorf("a job of a paused queue is %s", v.State)
	}
	b.ask(ask{method: "POST", path: "/v1/queues/low/resume", as: b.token(olga)}).want(b, 200)
	b.becomes(id, job.Completed)
	if q := b.queue("critical"); q.PauseReason != "paused in the monitor" {
		t.Errorf("%+v", q)
	}
}

func TestAResumeThatRedisDidNotHearHoldsAllTheSame(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	b := newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+r.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	b.startWorker()
	b.ask(ask{method: "POST", path: "/v1/queues/low/pause", as: b.token(b.admin), body: `{"reason":"x"}`}).want(b, 200)
	id := b.submit(`{"type":"debug.echo","queue":"low","payload":{}}`)
	r.Stop()
	// Asynq notes pauses to the second, and this one must be older.
	time.Sleep(time.Second - time.Duration(time.Now().Nanosecond()))
	b.ask(ask{method: "POST", path: "/v1/queues/low/resume", as: b.token(b.admin)}).want(b, 200)
	testenv.Eventually(
		t,
		20*time.Second,
		func() bool { return b.queue("low").Redis == nil },
		"Redis is down, and its figures are not null",
	)
	r.Start()
	b.becomes(id, job.Completed)
	if b.queue("low").Paused {
		t.Error("the pause is back")
	}
}

func TestTasksOfOthersAreSteeredInRedisAlone(t *testing.T) {
	t.Parallel()
	r := testenv.Redis(t)
	b := newIdleBench(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+r.URL)
	b.startAPI(app.Options{API: app.ServeAPI})
	tab := b.browser(b.join("olga", "operator"))
	foreign := asynq.NewClientFromRedisClient(r.Client(t))
	if _, err := foreign.EnqueueContext(t.Context(), asynq.NewTask("mail", nil), asynq.Queue("mail"),
		asynq.TaskID("m:1")); err != nil {
		t.Fatal(err)
	}
	tab.do("POST", "queues/mail/pending_tasks/m:1:archive", "", 204, nil)
	tab.do("POST", "queues/mail/pending_tasks/m:1:archive", "", 409, nil)
	tab.do("POST", "queues/mail/archived_tasks/m:1:run", "", 204, nil)
	tab.do("DELETE", "queues/mail", "", 409, nil)
	tab.do("DELETE", "queues/mail/pending_tasks/m:1", "", 204, nil)
	tab.do("DELETE", "queues/mail/pending_tasks/m:1", "", 404, nil)
	tab.do("POST", "queues/mail:pause", "", 204, nil)
	tab.do("POST", "queues/mail:resume", "", 204, nil)
	tab.do("DELETE", "queues/mail", "", 204, nil)
	tab.do("DELETE", "queues/mail", "", 404, nil)
	tab.do("GET", "queues/mail/pending_tasks", "", 404, nil)
	r.Stop()
	tab.do("GET", "queues", "", 503, nil)
	tab.do("DELETE", "queues/default/retry_tasks:delete_all", "", 503, nil)
}
