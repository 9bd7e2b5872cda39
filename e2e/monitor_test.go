// Package e2e drives a real browser against a whole Waybill. It is a module of its own, so that the
// product's requirements hold no browser.
package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// fail is a job that fails, and is tried again in an hour unless that is permanent.
func fail(message string, permanent bool) map[string]any {
	return map[string]any{"type": "debug.fail", "payload": map[string]any{"message": message, "permanent": permanent},
		"backoff": map[string]any{"kind": "fixed", "base": "1h", "max": "1h"}}
}

func TestAnOperatorSteersJobsInTheMonitor(t *testing.T) {
	s := startServer(t)
	operator := s.user("operator")
	retrying := s.submit("retry", fail("the mailbox is full", false))
	unwanted := s.submit("retry", fail("nobody wants this one", false))
	dead := s.submit("archived", fail("no such address", true))
	s.call("POST", "/v1/queues/low/pause", map[string]any{"reason": "the printer is on fire"}, nil)
	waiting := s.submit(
		"pending",
		map[string]any{"type": "debug.echo", "queue": "low", "payload": map[string]any{"page": 1}},
	)
	b := startBrowser(t, s.url)

	b.open("/monitor/queues/default?status=retry")
	b.picture("sign-in")
	b.signIn(operator, "not the password")
	b.wait("The e-mail or the password is wrong.")
	b.signIn(operator, password)
	b.wait("the mailbox is full") // where we wanted to go
	b.leadsToJob("the mailbox is full", retrying.ID)
	if lists := b.lists(); lists != "Active Pending Scheduled Retry Archived" {
		t.Errorf("the lists are %s", lists)
	}
	if who := b.text(".waybill-account span"); who != operator {
		t.Errorf("the page says that %q is signed in", who)
	}
	b.picture("monitor-retry")

	b.run(chromedp.Click(`//tr[contains(., "the mailbox is full")]/td[1 and contains(., "debug.fail")]`))
	b.wait("Task Info")
	b.wait("Last Failure")
	b.wait("30 seconds") // the job's timeout, not the one that asynq was told
	b.wait("1/25")
	b.picture("monitor-task")
	if to := value(b, chromedp.Evaluate[string](`document.querySelector(".waybill-account a").href`)); to != s.url+
		"/monitor/jobs/"+retrying.ID {
		t.Errorf("the task leads to the job at %s", to)
	}
	if status := b.fetch("GET", "/monitor/jobs/"+retrying.ID); status != 200 {
		t.Errorf("the job's page answers %d", status)
	}
	b.open("/monitor/queues/default?status=retry")
	b.wait("the mailbox is full")
	b.press("the mailbox is full", "Run")
	s.eventually("the job ran again", func() bool { return s.job(retrying.ID).Attempt == 2 })
	s.reaches(retrying.ID, "retry")

	b.press("nobody wants this one", "Delete")
	s.reaches(unwanted.ID, "canceled")

	b.open("/monitor/queues/default?status=archived")
	b.wait("no such address")
	b.press("no such address", "Run")
	s.eventually("the dead job ran again", func() bool { return s.job(dead.ID).Attempt == 2 })
	s.reaches(dead.ID, "archived")
	b.open("/monitor/queues/default?status=archived")
	b.wait("no such address")
	b.press("no such address", "Delete")
	b.gone("no such address")
	s.eventually(
		"the deed is in the audit log",
		func() bool { return strings.Contains(s.deeds(), "task.delete "+dead.ID) },
	)
	if got := s.job(dead.ID); got.State != "archived" || got.Attempt != 2 {
		t.Errorf("deleting the task of a job that was given up changed its outcome: %+v", got)
	}

	b.open("/monitor/queues/low?status=pending")
	b.wait("debug.echo")
	b.press("debug.echo", "Archive")
	s.reaches(waiting.ID, "archived")

	b.open("/monitor/")
	b.wait("critical")
	b.picture("monitor-queues")
	// Every one of them must do with what Waybill serves.
	for _, page := range []string{"servers", "schedulers", "redis", "settings"} {
		b.open("/monitor/" + page)
		b.wait(operator)
	}
	b.open("/monitor/")
	b.wait("critical")
	b.press("critical", "Pause")
	s.eventually("the ledger knows of the pause", func() bool { return s.paused("critical") })

	b.run(chromedp.Click(chromedp.CSS(".waybill-account button")), chromedp.WaitVisible(chromedp.CSS("#password")))
	b.open("/monitor/queues/default")
	if at := value(b, chromedp.Location()); !strings.HasPrefix(at, s.url+"/login") {
		t.Errorf("signed out, the monitor leads to %s", at)
	}
	deeds := s.deeds()
	for _, want := range []string{"user.login", "task.run " + retrying.ID, "task.delete " + unwanted.ID, "task.run " +
		dead.ID, "task.archive " + waiting.ID, "queue.pause critical"} {
		if !strings.Contains(deeds, operator+" "+want) {
			t.Errorf("the audit log lacks %q:\n%s", want, deeds)
		}
	}
	b.isSelfContained()
}

// leadsToJob checks the link in the row that shows the text.
func (b *browser) leadsToJob(row, id string) {
	b.t.Helper()
	want := b.url + "/monitor/jobs/" + id
	value(b, chromedp.Poll[bool](fmt.Sprintf(`[...document.querySelectorAll("tr")].some(r =>
		r.textContent.includes(%q) && r.querySelector(".waybill-job")?.href === %q)`, row, want),
		chromedp.WithPollingTimeout(20*time.Second)))
}

// lists are the names of the lists of tasks that can be chosen.
func (b *browser) lists() string {
	b.t.Helper()
	return value(b, chromedp.Evaluate[string](`[...document.querySelectorAll("main .MuiPaper-root .MuiChip-root")]
		.filter(c => c.offsetParent).map(c => c.textContent.split(" ")[0]).join(" ")`))
}

// TestTheSchedulersPageShowsSchedulesAndTheirJobs also checks that all it says of a schedule is in sight.
func TestTheSchedulersPageShowsSchedulesAndTheirJobs(t *testing.T) {
	s := startServer(t)
	operator := s.user("operator")
	nightly, paused := s.schedule("nightly"), s.schedule("holiday")
	s.call("POST", "/v1/schedules/"+paused+"/pause", map[string]any{"reason": "the printer is on fire"}, nil)
	s.call("POST", "/v1/schedules/"+nightly+"/trigger", map[string]any{}, nil)
	triggered := s.newestOf(nightly)
	b := startBrowser(t, s.url)
	b.open("/monitor/schedulers")
	b.signIn(operator, password)
	b.wait("0 3 * * * Europe/Berlin")
	for _, want := range []string{"nightly", "the printer is on fire", "Next Enqueue", "paused"} {
		b.wait(want)
	}
	b.picture("monitor-schedulers")
	if shows := b.text("main"); strings.Contains(shows, "NaN") {
		t.Errorf("the page shows %s", shows)
	}
	b.run(chromedp.Click(fmt.Sprintf(`//tr[contains(., %q)]//button`, nightly)))
	b.leadsToJob(triggered, triggered)
	b.open("/monitor/jobs/" + triggered)
	b.wait("debug.echo")
	b.isSelfContained()
}

// newestOf waits for a job of the schedule and answers its id.
func (s *server) newestOf(schedule string) string {
	s.t.Helper()
	var ticks struct {
		Data []struct {
			JobID string `json:"job_id"`
		}
	}
	s.eventually("the schedule has a job", func() bool {
		s.call("GET", "/v1/schedules/"+schedule+"/ticks", nil, &ticks)
		return len(ticks.Data) > 0 && ticks.Data[0].JobID != ""
	})
	return ticks.Data[0].JobID
}

// schedule makes one that runs at night, and answers its id.
func (s *server) schedule(name string) string {
	s.t.Helper()
	var made struct {
		ID string `json:"id"`
	}
	s.call("POST", "/v1/schedules", map[string]any{
		"name":     name,
		"cron":     "0 3 * * *",
		"timezone": "Europe/Berlin",
		"job":      map[string]any{"type": "debug.echo", "payload": map[string]any{}},
	}, &made)
	return made.ID
}

func (s *server) paused(queue string) bool {
	var page struct {
		Data []struct {
			Name   string
			Paused bool
		}
	}
	s.call("GET", "/v1/queues", nil, &page)
	for _, q := range page.Data {
		if q.Name == queue {
			return q.Paused
		}
	}
	return false
}

func TestAViewerReadsAndChangesNothing(t *testing.T) {
	s := startServer(t)
	viewer := s.user("viewer")
	j := s.submit("retry", fail("look, don't touch", false))
	b := startBrowser(t, s.url)
	b.scheme("dark")
	b.open("/login?next=https://example.com/")
	b.picture("sign-in-dark")
	b.signIn(viewer, password)
	b.wait("critical")
	b.open("/monitor/queues/default?status=retry")
	b.wait("look, don't touch")
	b.picture("monitor-viewer")
	if boxes := value(b, chromedp.Evaluate[int](`document.querySelectorAll("tbody input[type=checkbox]").length`)); boxes > 0 {
		t.Errorf("a viewer sees %d boxes to tick", boxes)
	}
	task := "/monitor/api/queues/default/retry_tasks/" + j.ID + ".1"
	for path, method := range map[string]string{task + ":run": "POST", task + ":archive": "POST", task: "DELETE",
		"/monitor/api/queues/default/retry_tasks:run_all": "POST",
		"/monitor/api/queues/default:pause":               "POST", "/monitor/api/queues/default": "DELETE"} {
		if status := b.fetch(method, path); status != 403 {
			t.Errorf("%s %s answers a viewer %d, want 403", method, path, status)
		}
	}
	if got := s.job(j.ID); got.State != "retry" || got.Attempt != 1 || s.paused("default") {
		t.Errorf("something was done: %+v", got)
	}
	b.isSelfContained()
}

// isSelfContained checks that the pages loaded nothing from other hosts, and that their policy
// forbids nothing that they need.
func (b *browser) isSelfContained() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests < 10 {
		b.t.Errorf("only %d requests were seen", b.requests)
	}
	if len(b.foreign) > 0 {
		b.t.Errorf("requests to elsewhere: %q", b.foreign)
	}
	if len(b.complaints) > 0 {
		b.t.Errorf("the browser complains: %q", b.complaints)
	}
}

// TestTheMonitorFitsAPhone opens every page at the width of a phone: none scrolls sideways as a
// whole.
func TestTheMonitorFitsAPhone(t *testing.T) {
	s := startServer(t)
	operator := s.user("operator")
	j := s.submit("retry", fail("the mailbox is full", false))
	unlucky := s.submit("retry", fail("it is too late", false))
	s.schedule("nightly")
	b := startBrowser(t, s.url)
	b.run(chromedp.EmulateViewport(390, 844))
	b.open("/monitor/")
	b.signIn(operator, password)
	b.wait("critical")
	for path, shows := range map[string]string{
		"/monitor/":                                    "critical",
		"/monitor/queues/default?status=retry":         "the mailbox is full",
		"/monitor/queues/default/tasks/" + j.ID + ".1": "Last Failure",
		"/monitor/servers":                             "Host",
		"/monitor/schedulers":                          "0 3 * * *",
		"/monitor/redis":                               "Redis Info",
		"/monitor/settings":                            "Polling",
	} {
		b.open(path)
		b.wait(shows)
		b.picture("phone" + strings.NewReplacer("/", "-", "?", "-", j.ID, "id").Replace(path))
		if w := value(b, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); w > 390 {
			t.Errorf("%s is %d pixels wide on a phone of 390", path, w)
		}
	}
	for _, name := range []string{"Queues", "Servers", "Schedulers", "Redis", "Settings"} {
		b.inSight(fmt.Sprintf(`[...document.querySelectorAll("li a")].find(a => a.textContent === %q)`, name))
	}

	b.open("/monitor/queues/default?status=retry")
	b.wait("the mailbox is full")
	s.call("POST", "/v1/jobs/"+unlucky.ID+"/cancel", map[string]any{}, nil)
	value(b, chromedp.Evaluate[bool](fmt.Sprintf(`(() => { // as the page does while it still shows the task
		const request = new XMLHttpRequest();
		request.open("POST", "/monitor/api/queues/default/retry_tasks/%s.1:archive");
		request.setRequestHeader("Accept", "application/json, text/plain, */*");
		request.send();
		return true;
	})()`, unlucky.ID)))
	b.inSight(`[...document.querySelectorAll("[role=alert]")].find(e => e.textContent.includes("canceled"))`)
	b.picture("phone-refused")
	b.press("the mailbox is full", "Archive")
	b.inSight(`document.querySelector(".MuiSnackbarContent-root")`)
	b.isSelfContained()
}

// inSight checks that nothing covers the middle of the element, and that it is as a whole within the window.
func (b *browser) inSight(element string) {
	b.t.Helper()
	value(b, chromedp.Poll[bool](fmt.Sprintf(`(() => {
		const e = %s, r = e?.getBoundingClientRect();
		return !!e && r.left >= 0 && r.right <= innerWidth && r.bottom <= innerHeight && r.width > 0 &&
			e.contains(document.elementFromPoint((r.left + r.right) / 2, (r.top + r.bottom) / 2));
	})()`, element), chromedp.WithPollingTimeout(20*time.Second)))
}
