package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/waybill/waybill/internal/job"
)

// taskAction is what an operator asks for in asynqmon, in its own terms.
type taskAction struct {
	verb  string // run, archive, delete, cancel; of a queue: pause, resume, delete
	queue string
	list  job.State // in which of the queue's lists the tasks stand; empty: it is about the queue itself
	task  string    // the id of one task
	batch bool      // the tasks that the body names
	all   bool      // every task in the list
}

// verbs are what asynqmon offers for each list. Groups are not among them: nothing in Waybill uses
// them.
func (o taskAction) possible() bool {
	switch o.list {
	case "":
		return o.verb == "pause" || o.verb == "resume" || o.verb == "delete"
	case job.Active:
		return o.verb == "cancel"
	case job.Pending:
		return o.verb == "archive" || o.verb == "delete"
	case job.Scheduled, job.Retry:
		return o.verb == "run" || o.verb == "archive" || o.verb == "delete"
	case job.Archived:
		return o.verb == "run" || o.verb == "delete"
	case job.Completed:
		return o.verb == "delete"
	}
	return false
}

// parseTaskAction reads a request that asynqmon's page sends when a button is pressed:
//
//	DELETE queues/Q                      POST queues/Q:pause
//	DELETE queues/Q/retry_tasks/ID       POST queues/Q/retry_tasks/ID:run
//	DELETE queues/Q/retry_tasks:delete_all    POST queues/Q/retry_tasks:run_all    POST queues/Q/retry_tasks:batch_delete
func parseTaskAction(method, path string) (o taskAction, ok bool) {
	rest, ok := strings.CutPrefix(path, monitorAPI+"/queues/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) > 3 || slices.Contains(parts, "") {
		return taskAction{}, false
	}
	last := &parts[len(parts)-1]
	switch method {
	case http.MethodDelete:
		o.verb = "delete"
		if len(parts) == 2 {
			*last, o.all = strings.CutSuffix(*last, ":delete_all")
		}
	case http.MethodPost:
		i := max(strings.LastIndexByte(*last, ':'), 0)
		*last, o.verb = (*last)[:i], strings.TrimPrefix((*last)[i:], ":")
		if len(parts) == 2 {
			o.verb, o.batch = strings.CutPrefix(o.verb, "batch_")
			o.verb, o.all = strings.CutSuffix(o.verb, "_all")
		}
	}
	o.queue = parts[0]
	if len(parts) > 1 {
		list, tasks := strings.CutSuffix(parts[1], "_tasks")
		o.list = job.State(list)
		ok = tasks && list != ""
	}
	if len(parts) == 3 {
		o.task = parts[2]
	}
	many := len(parts) == 2
	ok = ok && (method == http.MethodDelete) == (o.verb == "delete" && !o.batch)
	return o, ok && o.queue != "" && o.possible() && (o.batch != o.all) == many && (o.task != "") == (len(parts) == 3)
}
