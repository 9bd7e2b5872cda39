package api

import (
	"context"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/hibiken/asynq"

	"github.com/waybill/waybill/internal/job"
)

// job answers the job of a task, as GET /v1/jobs/{id} does.
func (m *monitor) job(c *gin.Context) (any, error) {
	id, err := job.ParseID(strings.TrimPrefix(c.Request.URL.Path, monitorJobs))
	if err != nil {
		return nil, job.NotFound("job")
	}
	j, err := m.actions.ledger.Job(c.Request.Context(), id)
	if err != nil {
		return nil, err
	}
	return m.viewing.job(caller(c), j), nil
}

// describeTimeout is how long an answer of asynqmon waits for the ledger to describe its tasks.
const describeTimeout = 3 * time.Second

// describeTasks replaces what asynq was told of a task by what its job says. asynq is told of more
// retries and of a longer timeout than the job has, so that it never ends a task by itself.
func (m *monitor) describeTasks(ctx context.Context, tree any) {
	nodes := taskNodes(tree, nil)
	if len(nodes) == 0 {
		return
	}
	ids := make([]job.ID, 0, len(nodes))
	for id := range nodes {
		ids = append(ids, id)
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	jobs, err := m.actions.ledger.ListedJobs(ctx, ids)
	if err != nil {
		m.actions.log.DebugContext(ctx, "the monitor shows what asynq was told of tasks", "err", err)
		return
	}
	for _, j := range jobs {
		for _, node := range nodes[j.ID] {
			describeTask(node, j)
		}
	}
}

// taskNodes finds the descriptions of jobs' tasks in an answer of asynqmon, by job. It takes
// asynq's own words out of their errors.
func taskNodes(tree any, found map[job.ID][]map[string]any) map[job.ID][]map[string]any {
	if found == nil {
		found = map[job.ID][]map[string]any{}
	}
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			taskNodes(child, found)
		}
	case map[string]any:
		if text, ok := node["error_message"].(string); ok {
			node["error_message"] = strings.TrimSuffix(text, ": "+asynq.SkipRetry.Error())
		}
		text, _ := node["id"].(string)
		if id, _, err := job.ParseTaskID(text); err == nil && node["max_retry"] != nil {
			found[id] = append(found[id], node)
		}
		for _, child := range node {
			taskNodes(child, found)
		}
	}
	return found
}

// describeTask writes a job's figures into asynqmon's description of its task.
func describeTask(node map[string]any, j *job.Job) {
	node["max_retry"] = j.MaxRetries
	// A job whose retries are used up has failed once more than it was retried.
	node["retried"] = min(j.Failures, j.MaxRetries)
	if node["timeout_seconds"] != nil {
		node["timeout_seconds"] = max(int(j.Timeout.Round(time.Second)/time.Second), 1)
	}
	if node["deadline"] != nil {
		if d := deadline(j); !d.IsZero() {
			node["deadline"] = d.UTC().Format(time.RFC3339)
		}
	}
	// asynq's servers say every few seconds what they run; the ledger knows it at once.
	if node["start_time"] == notKnownYet && j.State == job.Active {
		node["start_time"] = j.StartedAt.UTC().Format(time.RFC3339)
	}
}

// notKnownYet is asynqmon's word for the times of a task that began a moment ago.
const notKnownYet = "-"

// deadline answers when the job's attempt ends at the latest, or the deadline of a job that does not
// run; zero: it has none.
func deadline(j *job.Job) time.Time {
	if j.State != job.Active {
		return j.Deadline
	}
	end := j.StartedAt.Add(j.Timeout)
	if !j.Deadline.IsZero() && j.Deadline.Before(end) {
		return j.Deadline
	}
	return end
}
