package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/waybill/waybill/tasks"
)

// States of a job.
const (
	StateScheduled = "scheduled" // its time lies ahead
	StatePending   = "pending"   // may run as soon as a worker is free
	StateHeld      = "held"      // a rule holds it back
	StateActive    = "active"    // a worker runs it
	StateRetry     = "retry"     // failed, and will be tried again
	StateCompleted = "completed" // done
	StateArchived  = "archived"  // given up
	StateCanceled  = "canceled"  // canceled by a person or a rule
)

// maxWait is how long the API is asked to wait in one request.
const maxWait = 50 * time.Second

// JobInfo is a job as the API shows it. In lists Payload, Result and Errors are left out.
type JobInfo struct {
	ID                tasks.ID          `json:"id"`
	OwnerID           tasks.ID          `json:"owner_id"`
	Type              string            `json:"type"`
	Queue             string            `json:"queue"`
	State             string            `json:"state"`
	Payload           json.RawMessage   `json:"payload"`
	Result            json.RawMessage   `json:"result"`
	Errors            []AttemptError    `json:"errors"`
	Attempt           int               `json:"attempt"`
	Failures          int               `json:"failures"`
	Interruptions     int               `json:"interruptions"`
	MaxRetries        int               `json:"max_retries"`
	Timeout           time.Duration     `json:"-"` // of each attempt
	Labels            map[string]string `json:"labels"`
	Progress          *Progress         `json:"progress"`
	Worker            string            `json:"worker"`
	RunAt             time.Time         `json:"run_at"`
	NextRunAt         time.Time         `json:"next_run_at"`
	Deadline          time.Time         `json:"deadline"`
	CreatedAt         time.Time         `json:"created_at"`
	StartedAt         time.Time         `json:"started_at"`
	FinishedAt        time.Time         `json:"finished_at"`
	CancelRequestedAt time.Time         `json:"cancel_requested_at"`

	// Raw is the whole answer, with fields that this version of the client does not know.
	Raw json.RawMessage `json:"-"`
}

// AttemptError is how one attempt failed.
type AttemptError struct {
	Attempt   int       `json:"attempt"`
	At        time.Time `json:"at"`
	Message   string    `json:"message"`
	Retryable bool      `json:"retryable"`
}

// Progress is what the handler reported last.
type Progress struct {
	Percent float64 `json:"percent"` // 0 to 100
	Message string  `json:"message"`
}

// UnmarshalJSON keeps the whole text in Raw.
func (j *JobInfo) UnmarshalJSON(b []byte) error {
	type plain JobInfo
	body := struct {
		*plain
		Timeout string `json:"timeout"`
	}{plain: (*plain)(j)}
	if err := json.Unmarshal(b, &body); err != nil {
		return err
	}
	j.Timeout, _ = time.ParseDuration(body.Timeout) // left out of some answers
	if bytes.Equal(j.Payload, []byte("null")) {
		j.Payload = nil
	}
	if bytes.Equal(j.Result, []byte("null")) {
		j.Result = nil
	}
	j.Raw = bytes.Clone(b)
	return nil
}

// Finished reports whether the job has its outcome.
func (j *JobInfo) Finished() bool {
	return slices.Contains([]string{StateCompleted, StateArchived, StateCanceled}, j.State)
}

// Err is nil for a job that completed or is not finished, else a *JobError.
func (j *JobInfo) Err() error {
	if !j.Finished() || j.State == StateCompleted {
		return nil
	}
	e := &JobError{ID: j.ID, Type: j.Type, State: j.State}
	if n := len(j.Errors); n > 0 {
		e.Message = j.Errors[n-1].Message
	}
	return e
}

// Job is a submitted job whose result is an R.
type Job[R any] struct {
	JobInfo
	client *Client
}

// Wait waits until the job is finished, or ctx ends, and answers its result. A job that ended
// otherwise than completed is a *JobError. The job itself goes on when ctx ends; Cancel stops it.
func (j *Job[R]) Wait(ctx context.Context) (R, error) {
	var zero R
	if !j.Finished() || j.Raw == nil {
		info, err := j.client.Wait(ctx, j.ID)
		if err != nil {
			return zero, err
		}
		j.JobInfo = info
	}
	if err := j.Err(); err != nil {
		return zero, err
	}
	return decodeResult[R](j.Result)
}

func decodeResult[R any](raw json.RawMessage) (result R, err error) {
	switch r := any(&result).(type) {
	case *json.RawMessage:
		*r = raw
		return result, nil
	case *tasks.None:
		return result, nil
	}
	if raw == nil {
		return result, nil
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return result, fmt.Errorf("client: the result does not fit %T: %w", result, err)
	}
	return result, nil
}

// Cancel cancels the job: one that waits ends at once, a running one is told to stop.
func (j *Job[R]) Cancel(ctx context.Context) error {
	info, err := j.client.Cancel(ctx, j.ID)
	if err == nil {
		j.JobInfo = info
	}
	return err
}

// Get reads one job. IsNotFound(err) where it does not exist or belongs to another account.
func (c *Client) Get(ctx context.Context, id tasks.ID) (JobInfo, error) {
	var j JobInfo
	_, err := c.call(ctx, request{method: http.MethodGet, path: jobPath(id)}, &j)
	return j, err
}

// Get reads one job of a known type.
func Get[P, R any](ctx context.Context, c *Client, d tasks.Definition[P, R], id tasks.ID) (*Job[R], error) {
	info, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if info.Type != d.Name {
		return nil, fmt.Errorf("client: job %s is of type %s, not %s", id, info.Type, d.Name)
	}
	return &Job[R]{JobInfo: info, client: c}, nil
}

// Wait waits until a job is finished or ctx ends. It holds one request open at a time, which costs
// the deployment no query.
func (c *Client) Wait(ctx context.Context, id tasks.ID) (JobInfo, error) {
	for {
		wait := maxWait
		if until, ok := ctx.Deadline(); ok {
			wait = max(min(wait, time.Until(until)).Truncate(time.Millisecond), time.Millisecond)
		}
		var j JobInfo
		r := request{method: http.MethodGet, path: jobPath(id), query: url.Values{"wait": {wait.String()}}, wait: wait}
		if _, err := c.call(ctx, r, &j); err != nil || j.Finished() {
			return j, err
		}
		if ctx.Err() != nil {
			return j, context.Cause(ctx)
		}
	}
}

// Cancel cancels a job: one that waits ends at once, a running one is told to stop. To cancel a job
// that is canceled already is no error; IsConflict(err) where it ended otherwise.
func (c *Client) Cancel(ctx context.Context, id tasks.ID) (JobInfo, error) {
	var j JobInfo
	_, err := c.call(ctx, request{method: http.MethodPost, path: jobPath(id) + "/cancel"}, &j)
	return j, err
}

// Retry runs an archived or canceled job again, and one that waits for its retry at once. A request
// whose answer was lost is not repeated, since the job may have run and failed again meanwhile.
func (c *Client) Retry(ctx context.Context, id tasks.ID) (JobInfo, error) {
	var j JobInfo
	_, err := c.call(ctx, request{method: http.MethodPost, path: jobPath(id) + "/retry", once: true}, &j)
	return j, err
}

func jobPath(id tasks.ID) string { return "/v1/jobs/" + id.String() }
