package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const queuesPath = "/monitor/api/queues/"

func TestWhoSeesTheMonitor(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, c := range []struct {
		user, method, path, accept string
		want                       int
		to                         string
	}{
		{"", "GET", "/monitor", htmlPage, 303, "/login?next=%2Fmonitor"},
		{"", "HEAD", "/monitor/", "*/*", 303, "/login?next=%2Fmonitor%2F"},
		{"", "GET", "/monitor/queues/default?status=retry", htmlPage, 303,
			"/login?next=%2Fmonitor%2Fqueues%2Fdefault%3Fstatus%3Dretry"},
		{"", "GET", "/monitor/static/js/main.5adda2da.chunk.js", "*/*", 303, ""},
		{"", "GET", "/monitor/api/queues", "*/*", 401, ""},
		{"", "POST", queuesPath + "default:pause", "*/*", 401, ""},
		{"", "DELETE", queuesPath + "default", "*/*", 401, ""},
		{"nobody", "GET", "/monitor", htmlPage, 303, "/login?next=%2Fmonitor"},
		{alice, "GET", "/monitor/", htmlPage, 403, ""},
		{alice, "GET", "/monitor/api/queues", "*/*", 403, ""},
		{alice, "POST", queuesPath + "default:pause", "*/*", 403, ""},
		{viewer, "GET", "/monitor/", htmlPage, 200, ""},
		{viewer, "POST", queuesPath + "default:pause", "*/*", 403, ""},
		{viewer, "DELETE", queuesPath + "default/retry_tasks:delete_all", "*/*", 403, ""},
		{operator, "GET", "/monitor/", htmlPage, 200, ""},
		{operator, "POST", queuesPath + "default:pause", "*/*", 204, ""},
		{admin, "POST", queuesPath + "default:resume", "*/*", 204, ""},
		{operator, "PUT", queuesPath + "default", "*/*", 405, ""},
		{operator, "PATCH", queuesPath + "default", "*/*", 405, ""},
	} {
		a := h.browse(c.method, c.path, c.user, "", "Accept", c.accept)
		if a.status != c.want || c.to != "" && a.header.Get("Location") != c.to {
			t.Errorf(
				"%s: %s %s: %d to %q, want %d to %q",
				c.user,
				c.method,
				c.path,
				a.status,
				a.header.Get("Location"),
				c.want,
				c.to,
			)
		}
	}
	if a := h.call("GET", "/monitor/api/queues", operator, "").want(401); a.problem().Code != job.CodeUnauthenticated {
		t.Error("a token opens the monitor")
	}
}

func TestWhoMayNotSeeTheMonitorIsToldSoOnAPage(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	a := h.browse("GET", "/monitor/", alice, "", "Accept", htmlPage).want(403)
	if !strings.Contains(a.body, "alice@example.com") || !strings.Contains(a.body, `action="/logout"`) ||
		!strings.Contains(a.body, "This needs the role viewer.") {
		t.Error(a.body)
	}
	h.auth.err = job.Unavailable("the ledger cannot be reached", nil)
	h.browse("GET", "/monitor/", viewer, "", "Accept", htmlPage).want(503)
	h.browse("GET", "/monitor/api/queues", viewer, "").want(503)
}

func TestThereIsNoWayAroundTheSignInPage(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/monitor/../v1/jobs", "/monitor/..", "/monitor/.", "/monitor/%2e%2e/v1/jobs",
		"/monitor/%2e%2e%2fv1", "/monitor//api/queues", "/monitor/api//queues",
		"/monitor/./api/queues", "/monitor/x/../api/queues", "/monitor/api/queues/../../login", "/monitor/%5c..%5capi",
		"/monitor/a%00b", "/monitor/api%2f..%2fx"} {
		if a := h.browse("GET", path, "", "", "Accept", htmlPage); a.status != 303 && a.status != 401 {
			t.Errorf("a stranger at %s: %d", path, a.status)
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if a := h.browse(method, path, operator, ""); a.status != 404 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	for _, path := range []string{"//monitor/api/queues", "/MONITOR/api/queues", "/monitorx",
		"/v1/../monitor/api/queues"} {
		h.browse("GET", path, operator, "").want(404)
	}
	if len(h.inspector.actions) > 0 {
		t.Errorf("done all the same: %q", h.inspector.actions)
	}
}

func TestPagesOfOtherSitesCanDoNothingInTheMonitor(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"},
		{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}} {
		h.browse("POST", queuesPath+"default:pause", operator, "", header...).want(403)
		h.browse("DELETE", queuesPath+"default/retry_tasks:delete_all", operator, "", header...).want(403)
	}
	h.browse("GET", "/monitor/", operator, "", "Origin", "https://evil.example").want(403)
	if len(h.inspector.actions) > 0 || len(h.ledger.paused) > 0 {
		t.Errorf("done all the same: %q %v", h.inspector.actions, h.ledger.paused)
	}
	h.browse("POST", queuesPath+"default:pause", operator, "", "Origin", "http://waybill.test").want(204)
}

func TestTheMonitorsPageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) {
		h.auth.principals[viewer].Email = `<b>"&@example.com`
		h.cfg.PrometheusURL = "http://prometheus.internal:9090"
	})
	for user, readOnly := range map[string]string{viewer: "true", operator: "false"} {
		a := h.browse("GET", "/monitor/queues/default", user, "", "Accept", htmlPage).want(200)
		for _, never := range []string{"googleapis", "prometheus.internal", `"/[[`, "<b>", "manifest"} {
			if strings.Contains(a.body, never) {
				t.Errorf("the page of a %s has %q", user, never)
			}
		}
		if !strings.Contains(a.body, `FLAG_READ_ONLY="`+readOnly+`"`) || !strings.Contains(a.body, `action="/logout"`) {
			t.Errorf("the page of a %s is %s", user, a.body)
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, s := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(a.body, -1) {
			if !strings.Contains(policy, sourceHash(s[1])) {
				t.Errorf("the policy forbids a script of the page: %.60s", s[1])
			}
		}
		for _, src := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
			h.browse("GET", src[1], user, "").want(200)
		}
		if strings.Contains(policy, "http") || strings.Contains(policy, "unsafe-eval") {
			t.Errorf("policy %s", policy)
		}
	}
	h.browse("GET", "/monitor/static/js/nothing.js", viewer, "").want(404)
	h.browse("GET", "/monitor/nothing.png", viewer, "").want(404)
}

func TestErrorsHaveTheFormThatTheirReaderUnderstands(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	const axios = "application/json, text/plain, */*"
	a := h.browse("GET", "/monitor/api/queues", "", "", "Accept", axios).want(401)
	if a.body != "you are signed out: sign in again" ||
		!strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") ||
		a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%v %s", a.header, a.body)
	}
	if p := h.browse("GET", "/monitor/api/queues", "", "").want(401).problem(); p.Code != job.CodeUnauthenticated {
		t.Errorf("%+v", p)
	}
	for _, path := range []string{"/monitor/api/queues", "/monitor/api/redis_info",
		"/monitor/api/queues/default/retry_tasks"} {
		a := h.browse("GET", path, viewer, "", "Accept", axios).want(503) // no Redis here
		if strings.Contains(a.body, "127.0.0.1") || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
}

func TestPagesOfTasksAreBounded(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, q := range []string{"size=1001", "size=0", "size=-1", "size=x", "page=0", "page=9223372036854775808"} {
		h.browse("GET", queuesPath+"default/retry_tasks?"+q, viewer, "").want(400)
	}
}

// task makes a job and answers the id of the task that stands for it.
func (h *apiTest) task(state job.State) (job.ID, string) {
	id := h.submit(alice, echo)
	h.ledger.set(id, func(j *job.Job) { j.State = state })
	return id, job.TaskID(id, 1)
}

func (h *apiTest) state(id job.ID) job.State {
	h.t.Helper()
	j, err := h.ledger.Job(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return j.State
}

func TestWhatIsDoneToATaskTheLedgerDecides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, list, verb string
		before, after      job.State
		inspector          string // what is done in Redis; empty: nothing at once
		sent, signaled     int
		status             int
	}{
		{"POST", "retry", ":run", job.Retry, job.Pending, "delete", 1, 0, 204},
		{"POST", "scheduled", ":run", job.Scheduled, job.Pending, "delete", 1, 0, 204},
		{"POST", "archived", ":run", job.Archived, job.Pending, "delete", 1, 0, 204},
		{"POST", "retry", ":run", job.Active, job.Active, "", 0, 0, 409},
		{"POST", "archived", ":run", job.Completed, job.Completed, "", 0, 0, 409},
		{"POST", "retry", ":archive", job.Retry, job.Archived, "archive", 0, 0, 204},
		{"POST", "pending", ":archive", job.Pending, job.Archived, "archive", 0, 0, 204},
		{"POST", "scheduled", ":archive", job.Scheduled, job.Archived, "archive", 0, 0, 204},
		{"POST", "pending", ":archive", job.Active, job.Active, "", 0, 0, 409},
		{"DELETE", "retry", "", job.Retry, job.Canceled, "delete", 0, 0, 204},
		{"DELETE", "pending", "", job.Pending, job.Canceled, "delete", 0, 0, 204},
		{"DELETE", "scheduled", "", job.Scheduled, job.Canceled, "delete", 0, 0, 204},
		{"DELETE", "pending", "", job.Active, job.Active, "", 0, 1, 204},
		{"DELETE", "archived", "", job.Archived, job.Archived, "delete", 0, 0, 204},
		{"DELETE", "archived", "", job.Active, job.Active, "delete", 0, 0, 204},
		{"DELETE", "archived", "", job.Retry, job.Canceled, "delete", 0, 0, 204},
		{"DELETE", "completed", "", job.Completed, job.Completed, "delete", 0, 0, 204},
		{"POST", "active", ":cancel", job.Active, job.Active, "", 0, 1, 204},
		{"POST", "active", ":cancel", job.Completed, job.Completed, "", 0, 0, 409},
	} {
		t.Run(fmt.Sprintf("%s %s%s of a job that is %s", c.method, c.list, c.verb, c.before), func(t *testing.T) {
			h := newAPITest(t)
			id, task := h.task(c.before)
			h.dispatcher.sent = nil
			h.browse(c.method, queuesPath+"default/"+c.list+"_tasks/"+task+c.verb, operator, "").want(c.status)
			var inspector []string
			if c.inspector != "" {
				inspector = []string{c.inspector + " default " + task}
			}
			if h.state(id) != c.after || !slices.Equal(h.inspector.actions, inspector) || len(h.dispatcher.sent) != c.sent ||
				len(h.dispatcher.signaled) != c.signaled {
				t.Errorf(
					"the job is %s, redis did %q, sent %v, signaled %v",
					h.state(id),
					h.inspector.actions,
					h.dispatcher.sent,
					h.dispatcher.signaled,
				)
			}
			h.wantDeeds(c.status == 204, "task."+strings.TrimPrefix(orElse(c.verb, ":delete"), ":"), task)
		})
	}
}

// wantDeeds checks that the audit log names one action of the operator, or none.
func (h *apiTest) wantDeeds(done bool, action, target string) {
	h.t.Helper()
	if !done {
		if len(h.audit.entries) > 0 {
			h.t.Errorf("recorded: %+v", h.audit.entries)
		}
		return
	}
	if len(h.audit.entries) != 1 {
		h.t.Fatalf("recorded: %+v", h.audit.entries)
	}
	if e := h.audit.entries[0]; e.Action != action || e.Target != target || e.Actor != "operator@example.com" ||
		e.Detail["by"] != "monitor" ||
		e.RequestID == "" {
		h.t.Errorf("recorded: %+v", e)
	}
}

func TestARunIsANewDeliveryAndArchivingNamesWhoDidIt(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id, task := h.task(job.Retry)
	h.browse("POST", queuesPath+"default/retry_tasks/"+task+":run", operator, "").want(204)
	if p := h.dispatcher.sent[len(h.dispatcher.sent)-1]; p.JobID != id || p.Delivery != 2 {
		t.Errorf("sent %+v", p)
	}
	h.browse("POST", queuesPath+"default/pending_tasks/"+job.TaskID(id, 2)+":archive", operator, "").want(204)
	if j, _ := h.ledger.Job(t.Context(), id); j.Errors[0].Message != "archived by operator@example.com in the monitor" {
		t.Errorf("%+v", j.Errors)
	}
}

func TestAnOlderDeliverysTaskDoesNothingToItsJob(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id, old := h.task(job.Pending)
	h.ledger.set(id, func(j *job.Job) { j.Delivery = 2 })
	h.browse("POST", queuesPath+"default/pending_tasks/"+old+":archive", operator, "").want(409)
	h.browse("POST", queuesPath+"default/active_tasks/"+old+":cancel", operator, "").want(409)
	h.browse("DELETE", queuesPath+"default/pending_tasks/"+old, operator, "").want(204)
	if h.state(id) != job.Pending || !slices.Equal(h.inspector.actions, []string{"delete default " + old}) {
		t.Errorf("the job is %s, redis did %q", h.state(id), h.inspector.actions)
	}
}

func TestTasksThatAreNoJobsOfOursAreAsynqsAlone(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	unknown := job.TaskID(job.NewID(), 1)
	h.browse("POST", queuesPath+"mail/retry_tasks/abc:def:run", operator, "").want(204)
	h.browse("POST", queuesPath+"mail/pending_tasks/abc:archive", operator, "").want(204)
	h.browse("POST", queuesPath+"mail/active_tasks/abc:cancel", operator, "").want(204)
	h.browse("DELETE", queuesPath+"default/archived_tasks/"+unknown, operator, "").want(204)
	want := []string{"run mail abc:def", "archive mail abc", "cancel abc", "delete default " + unknown}
	if !slices.Equal(h.inspector.actions, want) {
		t.Errorf("redis did %q", h.inspector.actions)
	}
	h.inspector.err = job.NotFound("task")
	h.browse("DELETE", queuesPath+"mail/archived_tasks/abc", operator, "").want(404)
}

func TestABatchAnswersWhichWereDoneAndWhichNot(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	_, waits := h.task(job.Retry)
	_, runs := h.task(job.Active)
	body, _ := json.Marshal(map[string]any{"task_ids": []string{waits, runs}})
	for verb, names := range map[string][2]string{"run": {"pending_ids", "error_ids"},
		"archive": {"archived_ids", "error_ids"}} {
		h.audit.entries = nil
		id, _, _ := job.ParseTaskID(waits)
		h.ledger.reopen(id, func(j *job.Job) { j.State, j.Delivery = job.Retry, 1 })
		var got map[string][]string
		a := h.browse("POST", queuesPath+"default/retry_tasks:batch_"+verb, operator, string(body)).want(200)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || !slices.Equal(got[names[0]], []string{waits}) ||
			!slices.Equal(got[names[1]], []string{runs}) {
			t.Errorf("%s: %s", verb, a.body)
		}
		h.wantDeeds(true, "task."+verb, "default")
		if d := h.audit.entries[0].Detail; d["count"] != "1" || d["failed"] != "1" || d["list"] != "retry" ||
			d["tasks"] != waits {
			t.Errorf("%v", d)
		}
	}
	if a := h.browse("POST", queuesPath+"default/completed_tasks:batch_delete", operator,
		`{"task_ids":["x"]}`).want(200); a.body != `{"deleted_ids":["x"],"failed_ids":[]}`+"\n" {
		t.Error(a.body)
	}
	if a := h.browse("POST", queuesPath+"default/active_tasks:batch_cancel", operator,
		string(body)).want(200); !strings.Contains(
		a.body,
		`"canceled_ids":["`+runs,
	) {
		t.Error(a.body)
	}
	for body, want := range map[string]int{"": 400, "[]": 400, `{"ids":[]}`: 422, `{"task_ids":[1]}`: 422,
		`{"task_ids":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`: 422} {
		h.browse("POST", queuesPath+"default/retry_tasks:batch_run", operator, body).want(want)
	}
}

func TestAllOfAListIsDoneToTheLast(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var ids []job.ID
	for range 50 {
		id, task := h.task(job.Retry)
		ids, h.inspector.lists[job.Retry] = append(ids, id), append(h.inspector.lists[job.Retry], task)
	}
	_, runs := h.task(job.Active)
	h.inspector.lists[job.Retry] = append(h.inspector.lists[job.Retry], runs)
	if a := h.browse("POST", queuesPath+"default/retry_tasks:archive_all", operator,
		"").want(200); a.body != "{\"archived\":50}\n" {
		t.Error(a.body)
	}
	for _, id := range ids {
		if h.state(id) != job.Archived {
			t.Errorf("%s is %s", id, h.state(id))
		}
	}
	h.wantDeeds(true, "task.archive", "default")
	if d := h.audit.entries[0].Detail; d["count"] != "50" || d["failed"] != "1" || d["all"] != "true" {
		t.Errorf("%v", d)
	}
	h.inspector.lists[job.Archived] = h.inspector.lists[job.Retry][:50]
	if a := h.browse("POST", queuesPath+"default/archived_tasks:run_all", operator,
		"").want(200); a.body != "{\"scheduled\":50}\n" {
		t.Error(a.body)
	}
	h.inspector.lists[job.Active] = []string{runs}
	h.browse("POST", queuesPath+"default/active_tasks:cancel_all", operator, "").want(204)
	h.browse("DELETE", queuesPath+"default/completed_tasks:delete_all", operator, "").want(200)
	h.inspector.err = job.Unavailable("redis does not answer", nil)
	h.browse("DELETE", queuesPath+"default/retry_tasks:delete_all", operator, "").want(503)
}

func TestWhatRedisDoesNotHearTheLedgerHasDecidedAllTheSame(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.inspector.err = job.Unavailable("redis does not answer", nil)
	id, task := h.task(job.Pending)
	h.browse("DELETE", queuesPath+"default/pending_tasks/"+task, operator, "").want(204)
	h.browse("POST", queuesPath+"default:pause", operator, "").want(204)
	if h.state(id) != job.Canceled || len(h.ledger.paused) != 1 ||
		h.ledger.paused[0].PausedBy != "operator@example.com" {
		t.Errorf("the job is %s, paused: %v", h.state(id), h.ledger.paused)
	}
}

func TestNothingIsDoneInRedisThatTheLedgerDidNotHear(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	_, task := h.task(job.Retry)
	h.ledger.err = job.Unavailable("the ledger cannot be reached", nil)
	for _, path := range []string{"default/retry_tasks/" + task + ":run", "default/retry_tasks/" + task + ":archive",
		"default:pause", "default:resume"} {
		h.browse("POST", queuesPath+path, operator, "").want(503)
	}
	h.browse("DELETE", queuesPath+"default/retry_tasks/"+task, operator, "").want(503)
	if len(h.inspector.actions) > 0 || len(h.audit.entries) > 0 {
		t.Errorf("redis did %q, recorded %v", h.inspector.actions, h.audit.entries)
	}
}

func TestAQueueInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	if p := h.browse("DELETE", queuesPath+"default", operator, "").want(409).problem(); !strings.Contains(
		p.Detail,
		"in use",
	) {
		t.Errorf("%+v", p)
	}
	h.browse("DELETE", queuesPath+"leftover", operator, "").want(204)
	h.browse("POST", queuesPath+"leftover:pause", operator, "").want(204)
	if !slices.Equal(h.inspector.actions, []string{"delete queue leftover", "pause leftover"}) || len(h.ledger.paused) > 0 {
		t.Errorf("redis did %q", h.inspector.actions)
	}
}

func TestOrdersThatAsynqmonDoesNotOfferAreRefused(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, order := range []string{"POST default:delete", "POST default", "POST :pause",
		"POST default/active_tasks:run_all", "POST default/pending_tasks/x:run", "DELETE default/active_tasks/x",
		"DELETE default/retry_tasks", "POST default/retry_tasks:run", "POST default/retry_tasks:batch_run_all",
		"POST default/retry_tasks/x", "POST default/retry_tasks/:run", "DELETE default/x/y",
		"POST default/groups/g/aggregating_tasks:run_all", "POST default/retry_tasks/x/y:run",
		"POST default/_tasks/x:run", "DELETE ", "POST default/archived_tasks:archive_all"} {
		method, path, _ := strings.Cut(order, " ")
		if a := h.browse(method, queuesPath+path, operator, `{"task_ids":["x"]}`); a.status != 404 {
			t.Errorf("%s: %d", order, a.status)
		}
	}
	h.browse("POST", "/monitor/api/servers", operator, "").want(404)
	h.browse("POST", "/monitor/", operator, "").want(404)
	if len(h.inspector.actions) > 0 {
		t.Errorf("redis did %q", h.inspector.actions)
	}
}

func FuzzOrdersAreReadInOneWay(f *testing.F) {
	for _, p := range []string{"q:pause", "q/retry_tasks/x:run", "q/retry_tasks:batch_run", "q/retry_tasks:run_all",
		"q/retry_tasks/a:b:run", "q"} {
		f.Add("POST", p)
		f.Add("DELETE", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		o, ok := parseTaskAction(method, queuesPath+path)
		if !ok {
			return
		}
		if o.queue == "" || strings.ContainsRune(o.queue+o.task, '/') || !o.possible() {
			t.Errorf("%s %s is read as %+v", method, path, o)
		}
		if kinds := count(o.list == "", o.task != "", o.batch, o.all); kinds != 1 {
			t.Errorf("%s %s is of %d kinds: %+v", method, path, kinds, o)
		}
	})
}

func count(kinds ...bool) (n int) {
	for _, k := range kinds {
		if k {
			n++
		}
	}
	return n
}

func TestTheMetricsPageAsksPrometheusAndNothingThatTheClientSays(t *testing.T) {
	t.Parallel()
	queries := make(chan string, 100)
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries <- r.URL.Query().Get("query") + " step " + r.URL.Query().Get("step")
		fmt.Fprint(w, `{"status":"success","data":{"result":[]}}`)
	}))
	defer prometheus.Close()
	h := newAPITest(t, func(h *apiTest) { h.cfg.PrometheusURL = prometheus.URL })
	a := h.browse("GET", "/monitor/api/metrics?duration=86400&endtime=1700000000&queues=default,low", viewer, "").
		want(200)
	if len(a.json()) != 9 || len(queries) != 9 {
		t.Errorf("%d queries, answer %s", len(queries), a.body)
	}
	if q := <-queries; !strings.Contains(q, `queue=~"default|low"`) || !strings.HasSuffix(q, "step 120") {
		t.Error(q)
	}
	for _, q := range []string{"duration=0", "duration=9999999999", "duration=x", "endtime=-1", `queues="}`,
		"queues=.*"} {
		h.browse("GET", "/monitor/api/metrics?"+q, viewer, "").want(400)
	}
	prometheus.Close()
	if a := h.browse("GET", "/monitor/api/metrics", viewer, "").want(503); strings.Contains(a.body, "127.0.0.1") {
		t.Error(a.body)
	}
	newAPITest(t).browse("GET", "/monitor/api/metrics", viewer, "").want(404)
}

func TestAnOrderForAllEndsInTime(t *testing.T) {
	t.Parallel()
	if actionTimeout > maxWait || time.Duration(maxTaskAction/actionConcurrency)*time.Millisecond > actionTimeout {
		t.Error("an order may outlast the server's write timeout, or its bound is out of reach")
	}
}
