// Package e2e drives a real browser against a whole Waybill. It is a module of its own, so that the
// product's requirements hold no browser.
package e2e

import (
	"strings"
	"testing"

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

// isSelfContained checks that the pages asked nobody else for anything, and that their policy
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
	s.call(
		"POST",
		"/v1/schedules",
		map[string]any{
			"name": "nightly",
			"cron": "0 3 * * *",
			"job":  map[string]any{"type": "debug.echo", "payload": map[string]any{}},
		},
		nil,
	)
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
	b.isSelfContained()
}
