package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/tasks"
)

// Submission is a job to submit, for callers that have no Definition of its type. Zero fields have
// the defaults of the type.
type Submission struct {
	Type       string
	Payload    json.RawMessage
	Queue      string
	RunAt      time.Time     // the job runs no earlier; not together with Delay
	Delay      time.Duration // the same, counted from its acceptance
	MaxRetries *int
	Timeout    time.Duration
	Deadline   time.Time
	Backoff    *tasks.Backoff
	Labels     map[string]string
	// IdempotencyKey is the option of that name.
	IdempotencyKey string
}

type backoffBody struct {
	Kind string `json:"kind,omitempty"`
	Base string `json:"base,omitempty"`
	Max  string `json:"max,omitempty"`
}

// MarshalJSON writes the body of POST /v1/jobs.
func (s Submission) MarshalJSON() ([]byte, error) {
	body := struct {
		Type       string            `json:"type"`
		Payload    json.RawMessage   `json:"payload"`
		Queue      string            `json:"queue,omitempty"`
		RunAt      time.Time         `json:"run_at,omitzero"`
		Delay      string            `json:"delay,omitempty"`
		MaxRetries *int              `json:"max_retries,omitempty"`
		Timeout    string            `json:"timeout,omitempty"`
		Deadline   time.Time         `json:"deadline,omitzero"`
		Backoff    *backoffBody      `json:"backoff,omitempty"`
		Labels     map[string]string `json:"labels,omitempty"`
	}{
		Type: s.Type, Payload: s.Payload, Queue: s.Queue, RunAt: s.RunAt, Delay: durationText(s.Delay),
		MaxRetries: s.MaxRetries,
		Timeout:    durationText(s.Timeout), Deadline: s.Deadline, Labels: s.Labels,
	}
	if s.Backoff != nil {
		body.Backoff = &backoffBody{
			Kind: s.Backoff.Kind,
			Base: durationText(s.Backoff.Base),
			Max:  durationText(s.Backoff.Max),
		}
	}
	return tasks.Encode(body)
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// SubmitOption changes one submission. What is left out has the defaults of the job's type.
type SubmitOption func(*Submission)

// Queue names the queue where the job waits.
func Queue(name string) SubmitOption { return func(s *Submission) { s.Queue = name } }

// Delay lets the job run no earlier than d after it was accepted, by the deployment's clock.
func Delay(d time.Duration) SubmitOption { return func(s *Submission) { s.Delay = d } }

// RunAt lets the job run no earlier than t; a t in the past is now.
func RunAt(t time.Time) SubmitOption { return func(s *Submission) { s.RunAt = t } }

// Deadline gives the job up at t, also while it runs.
func Deadline(t time.Time) SubmitOption { return func(s *Submission) { s.Deadline = t } }

// Timeout limits each attempt, from 100 ms to 7 days.
func Timeout(d time.Duration) SubmitOption { return func(s *Submission) { s.Timeout = d } }

// MaxRetries is how often the job is tried again after a failure, 0 to 1000.
func MaxRetries(n int) SubmitOption { return func(s *Submission) { s.MaxRetries = &n } }

// Backoff sets the waits between attempts.
func Backoff(b tasks.Backoff) SubmitOption { return func(s *Submission) { s.Backoff = &b } }

// Label adds a label, by which jobs are listed; up to 20.
func Label(key, value string) SubmitOption {
	return func(s *Submission) {
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		s.Labels[key] = value
	}
}

// IdempotencyKey names the submission: a second one with the same key and body answers the job of
// the first, and one with another body is refused with the code "idempotency_reuse". Without this
// option the client makes a random key for each call.
func IdempotencyKey(key string) SubmitOption {
	return func(s *Submission) { s.IdempotencyKey = key }
}

// Submit submits a job and answers it as it was accepted: from then on it will run until it has its
// one outcome. A payload with mistakes is an *Error with Fields, found before anything is sent
// where the Definition has a Check.
func Submit[P, R any](
	ctx context.Context,
	c *Client,
	d tasks.Definition[P, R],
	payload P,
	opts ...SubmitOption,
) (*Job[R], error) {
	s, err := newSubmission(d, payload, opts)
	if err != nil {
		return nil, err
	}
	info, err := c.Submit(ctx, s)
	if err != nil {
		return nil, err
	}
	return &Job[R]{JobInfo: info, client: c}, nil
}

// Submit submits a job of any type.
func (c *Client) Submit(ctx context.Context, s Submission, opts ...SubmitOption) (JobInfo, error) {
	for _, o := range opts {
		o(&s)
	}
	body, err := tasks.Encode(s)
	if err != nil {
		return JobInfo{}, fmt.Errorf("client: encode the job: %w", err)
	}
	key := s.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	var j JobInfo
	_, err = c.call(ctx, request{method: http.MethodPost, path: "/v1/jobs", body: body, key: key}, &j)
	return j, err
}

func newSubmission[P, R any](d tasks.Definition[P, R], payload P, opts []SubmitOption) (Submission, error) {
	if d.Name == "" {
		return Submission{}, errors.New("client: the definition has no name")
	}
	if d.Check != nil {
		if fields := d.Check(payload); len(fields) > 0 {
			return Submission{}, invalidPayload(d.Name, fields)
		}
	}
	raw, err := tasks.Encode(payload)
	if err != nil {
		return Submission{}, fmt.Errorf("client: encode the payload of %s: %w", d.Name, err)
	}
	s := Submission{Type: d.Name, Payload: raw}
	for _, o := range opts {
		o(&s)
	}
	return s, nil
}

// invalidPayload is what the API would answer.
func invalidPayload(name string, fields []tasks.FieldError) *Error {
	e := &Error{Status: http.StatusUnprocessableEntity, Code: "invalid", Detail: "the payload does not fit " + name}
	for _, f := range fields {
		e.Fields = append(e.Fields, tasks.FieldError{Pointer: "/payload" + f.Pointer, Detail: f.Detail})
	}
	return e
}
