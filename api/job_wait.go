package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// maxWait is how long a request may wait for a job. Proxies commonly cut silent connections after 60 s.
const maxWait = 60 * time.Second

// get answers a job; with ?wait= as soon as it is finished, or as it is when the wait is over.
func (h *jobHandler) get(c *gin.Context) (any, error) {
	wait, err := waitParameter(c)
	if err != nil {
		return nil, err
	}
	j, err := h.own(c, false)
	if err != nil {
		return nil, err
	}
	if wait == 0 || j.State.Finished() {
		return jobBody{j}, nil
	}
	if err := h.await(c, j.ID, wait); err != nil {
		return nil, fmt.Errorf("wait for job %s: %w", j.ID, err)
	}
	if j, err = h.jobs.Job(c.Request.Context(), j.ID); err != nil {
		return nil, fmt.Errorf("read job again: %w", err)
	}
	return jobBody{j}, nil
}

// await returns when the job is finished or the wait is over, and with an error where the client has gone.
func (h *jobHandler) await(c *gin.Context, id job.ID, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), wait)
	defer cancel()
	err := h.bound.wait(ctx, func(ctx context.Context) error { return h.jobs.AwaitFinished(ctx, id) })
	if errors.Is(err, context.DeadlineExceeded) && c.Request.Context().Err() == nil {
		return nil
	}
	return err
}

func waitParameter(c *gin.Context) (time.Duration, error) {
	q, err := query(c, "wait")
	if err != nil || q.Get("wait") == "" {
		return 0, err
	}
	d, err := time.ParseDuration(q.Get("wait"))
	if err != nil || d < 0 || d > maxWait {
		return 0, badParameter("wait", `must be a duration of at most `+duration(maxWait)+`, such as "30s"`)
	}
	return d, nil
}
