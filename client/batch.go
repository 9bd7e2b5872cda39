package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/waybill/waybill/tasks"
)

// MaxBatch is how many jobs a Batch may hold.
const MaxBatch = 10_000

// Batch collects jobs, of any types, that are submitted together: all of them are accepted, or
// none.
type Batch struct {
	jobs  []Submission
	infos []*JobInfo
	bind  []func(*Client)
	key   string
	err   error
}

// Add adds a job to b. The answer can be waited for once b was submitted. A payload that cannot be
// encoded or that Check refuses is the error of Batch.Submit.
func Add[P, R any](b *Batch, d tasks.Definition[P, R], payload P, opts ...SubmitOption) *Job[R] {
	j := &Job[R]{}
	s, err := newSubmission(d, payload, opts)
	if err == nil && s.IdempotencyKey != "" {
		err = errors.New("client: the jobs of a batch share its key: Batch.IdempotencyKey")
	}
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("job %d of the batch: %w", len(b.jobs), err)
	}
	b.jobs = append(b.jobs, s)
	b.infos = append(b.infos, &j.JobInfo)
	b.bind = append(b.bind, func(c *Client) { j.client = c })
	return j
}

// IdempotencyKey names the batch as the option of that name does a single job.
func (b *Batch) IdempotencyKey(key string) { b.key = key }

// Len is how many jobs were added.
func (b *Batch) Len() int { return len(b.jobs) }

// Submit submits the jobs of b in one request, at most MaxBatch. A refusal names the wrong jobs by
// their index: "/3/payload/url". An empty batch is submitted without a request.
func (b *Batch) Submit(ctx context.Context, c *Client) error {
	switch {
	case b.err != nil:
		return b.err
	case len(b.jobs) == 0:
		return nil
	case len(b.jobs) > MaxBatch:
		return fmt.Errorf("client: a batch of %d jobs; %d is the limit", len(b.jobs), MaxBatch)
	}
	body, err := tasks.Encode(b.jobs)
	if err != nil {
		return fmt.Errorf("client: encode the batch: %w", err)
	}
	if b.key == "" {
		b.key = rand.Text() // kept: to submit the same Batch again makes no second jobs
	}
	var answer struct {
		Data []struct {
			ID    tasks.ID `json:"id"`
			State string   `json:"state"`
		} `json:"data"`
	}
	if _, err := c.call(ctx, request{method: http.MethodPost, path: "/v1/jobs/batch", body: body, key: b.key},
		&answer); err != nil {
		return err
	}
	if len(answer.Data) != len(b.jobs) {
		return fmt.Errorf("client: %d jobs submitted, %d answered", len(b.jobs), len(answer.Data))
	}
	for i, a := range answer.Data {
		*b.infos[i] = JobInfo{ID: a.ID, State: a.State, Type: b.jobs[i].Type, Payload: b.jobs[i].Payload}
		b.bind[i](c)
	}
	return nil
}
