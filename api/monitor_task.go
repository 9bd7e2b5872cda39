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
	jobs, err := m.actions.ledger.ListedJobs(ctx, ids)
	if err != nil {
		m.actions.log.DebugContext(ctx, "the monitor shows what asynq was told of tasks", "err", err)
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

func describeTask(node map[string]any, j *job.Job) {
	node["max_retry"], node["retried"] = j.MaxRetries, j.Failures
	if node["timeout_seconds"] != nil {
		node["timeout_seconds"] = max(int(j.Timeout.Round(time.Second)/time.Second), 1)
	}
	switch {
	case node["deadline"] == nil:
	case j.State == job.Active: // of the attempt
		node["deadline"] = j.StartedAt.Add(j.Timeout).UTC().Format(time.RFC3339)
	case !j.Deadline.IsZero():
		node["deadline"] = j.Deadline.UTC().Format(time.RFC3339)
	}
}
