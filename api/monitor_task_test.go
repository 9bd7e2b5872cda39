package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// describedTask is what a test reads of asynqmon's description of a task.
type describedTask struct {
	MaxRetry int    `json:"max_retry"`
	Retried  int    `json:"retried"`
	Timeout  int    `json:"timeout_seconds"`
	Deadline string `json:"deadline"`
	Start    string `json:"start_time"`
	Error    string `json:"error_message"`
}

// toldToAsynq is how asynqmon describes a task: by what asynq was told of it.
const toldToAsynq = `{"id":%q,"type":"debug.echo","payload":"{}","max_retry":26,"retried":9,"timeout_seconds":605400,
	"deadline":"2030-01-01T00:00:00Z","start_time":"-","error_message":"no: skip retry for the task","new_in_asynqmon":[1]}`

// describe lets the monitor correct a list that holds the given task.
func (h *apiTest) describe(task string) (describedTask, string) {
	h.t.Helper()
	m := &monitor{actions: newMonitorActions(h.cfg, h.deps()), viewing: viewing{h.catalogue}}
	page := fmt.Sprintf(`{"tasks":[`+toldToAsynq+`],"stats":{"size":1}}`, task)
	body, err := m.correct(h.t.Context(), monitorAPI+"/queues/default/active_tasks", []byte(page), false)
	must(h.t, err)
	var answer struct{ Tasks []describedTask }
	must(h.t, json.Unmarshal(body, &answer))
	if len(answer.Tasks) != 1 {
		h.t.Fatalf("the list is %s", body)
	}
	return answer.Tasks[0], string(body)
}

func TestATaskIsDescribedByItsJob(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	const told = "2030-01-01T00:00:00Z"
	for name, c := range map[string]struct {
		change func(*job.Job)
		want   describedTask
	}{
		"it waits": {
			func(j *job.Job) { j.State = job.Pending },
			describedTask{MaxRetry: 3, Timeout: 30, Deadline: told, Start: "-"},
		},
		"it waits and has a deadline": {
			func(j *job.Job) { j.State, j.Deadline = job.Scheduled, started.Add(time.Hour) },
			describedTask{MaxRetry: 3, Timeout: 30, Deadline: "2026-11-28T13:00:00Z", Start: "-"},
		},
		"it runs": {
			func(j *job.Job) { j.State = job.Active },
			describedTask{MaxRetry: 3, Timeout: 30, Deadline: "2026-11-28T12:00:30Z", Start: "2026-11-28T12:00:00Z"},
		},
		"it runs until its deadline": {
			func(j *job.Job) { j.State, j.Deadline = job.Active, started.Add(20*time.Second) },
			describedTask{MaxRetry: 3, Timeout: 30, Deadline: "2026-11-28T12:00:20Z", Start: "2026-11-28T12:00:00Z"},
		},
		"it failed twice": {
			func(j *job.Job) { j.State, j.Failures = job.Retry, 2 },
			describedTask{MaxRetry: 3, Retried: 2, Timeout: 30, Deadline: told, Start: "-"},
		},
		"its retries are used up": {
			func(j *job.Job) { j.State, j.Failures = job.Archived, 4 },
			describedTask{MaxRetry: 3, Retried: 3, Timeout: 30, Deadline: told, Start: "-"},
		},
		"its timeout is short": {
			func(j *job.Job) { j.State, j.Timeout = job.Pending, 100*time.Millisecond },
			describedTask{MaxRetry: 3, Timeout: 1, Deadline: told, Start: "-"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newAPITest(t)
			id := h.submit(alice, echo)
			h.ledger.set(id, func(j *job.Job) {
				j.MaxRetries, j.Timeout, j.StartedAt = 3, 30*time.Second, started
				c.change(j)
			})
			c.want.Error = "no"
			got, body := h.describe(job.TaskID(id, 1))
			if got != c.want {
				t.Errorf("described as %+v, want %+v", got, c.want)
			}
			if !strings.Contains(body, `"new_in_asynqmon":[1]`) || !strings.Contains(body, `"size":1`) {
				t.Errorf("something is missing: %s", body)
			}
		})
	}
}

func TestTasksThatTheLedgerDoesNotDescribeAreShownAsAsynqWasToldOfThem(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	want := describedTask{
		MaxRetry: 26,
		Retried:  9,
		Timeout:  605400,
		Deadline: "2030-01-01T00:00:00Z",
		Start:    "-",
		Error:    "no",
	}
	for name, task := range map[string]string{"no job of ours": "abc", "a forgotten job": job.TaskID(job.NewID(), 1)} {
		if got, _ := h.describe(task); got != want {
			t.Errorf("%s is described as %+v", name, got)
		}
	}
	id := h.submit(alice, echo)
	h.ledger.err = job.Unavailable("the ledger cannot be reached", nil)
	if got, _ := h.describe(job.TaskID(id, 1)); got != want {
		t.Errorf("without a ledger a task is described as %+v", got)
	}
}

func TestTheJobBehindATaskIsShownToThoseWhoMaySeeTheMonitor(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.catalogue = privateCatalogue(h.t) })
	id := h.submit(alice, `{"type":"test.private","payload":{"secret":"TOPSECRET"}}`)
	path := monitorJobs + id.String()
	for user, status := range map[string]int{"": 303, alice: 403, viewer: 200, operator: 200} {
		a := h.browse("GET", path, user, "", "Accept", "application/json").want(status)
		if sees := strings.Contains(a.body, "TOPSECRET"); sees != (user == operator) {
			t.Errorf("%q sees the payload: %v: %s", user, sees, a.body)
		}
	}
	h.browse("GET", monitorJobs+job.NewID().String(), operator, "").want(404)
	h.browse("GET", monitorJobs+"x", operator, "").want(404)
}
