package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/tasks"
)

type jobsCommand struct {
	accessFlags `embed:""`

	Submit submitCommand `cmd:"" help:"Submit a job and print its id; with --wait, the job once it is finished."`
	List   listCommand   `cmd:"" help:"List jobs, newest first."`
	Get    getCommand    `cmd:"" help:"Print a job as JSON."`
	Cancel cancelCommand `cmd:"" help:"Cancel jobs that are not finished."`
	Retry  retryCommand  `cmd:"" help:"Retry archived or canceled jobs, and at once those that wait for a retry."`
}

type submitCommand struct {
	Type           string            `arg:"" help:"The task type, such as http.request."`
	Payload        string            `arg:"" optional:"" default:"{}" help:"The payload, JSON; - reads it from standard input."`
	Queue          string            `help:"The queue, if not the type's."`
	Delay          time.Duration     `help:"How long to wait before it may run, such as 90s."`
	RunAt          time.Time         `help:"When it may run, such as 2027-01-31T18:00:00Z."`
	Deadline       time.Time         `help:"When to give it up, such as 2027-01-31T18:00:00Z."`
	Timeout        time.Duration     `help:"How long an attempt may take, such as 30s."`
	MaxRetries     *int              `help:"How often it is tried again after a failure."`
	Label          map[string]string `help:"Labels, as key=value."`
	IdempotencyKey string            `help:"Repeating the command with the same key makes no second job."`
	Wait           time.Duration     `help:"Wait so long for it to finish; fail unless it completes."`
}

type getCommand struct {
	ID   string        `arg:"" help:"The job's id."`
	Wait time.Duration `help:"Wait so long for it to finish."`
}

type cancelCommand struct {
	ID []string `arg:"" help:"The jobs' ids."`
}

type retryCommand struct {
	ID []string `arg:"" help:"The jobs' ids."`
}

// Run submits one job.
func (c *submitCommand) Run(ctx context.Context, flags *accessFlags, s *streams) error {
	submission, err := c.submission(s.in)
	if err != nil {
		return err
	}
	api, at, err := flags.client()
	if err != nil {
		return err
	}
	j, err := api.Submit(ctx, submission)
	if err != nil {
		return at.explain(err)
	}
	if c.Wait == 0 {
		_, err = fmt.Fprintln(s.out, j.ID)
		return err
	}
	if j, err = await(ctx, api, j.ID, c.Wait); err != nil {
		return at.explain(err)
	}
	if err := printJob(s.out, j); err != nil {
		return err
	}
	if j.State != client.StateCompleted {
		return fmt.Errorf("job %s is %s", j.ID, j.State)
	}
	return nil
}

func (c *submitCommand) submission(in io.Reader) (client.Submission, error) {
	payload := []byte(c.Payload)
	if c.Payload == "-" {
		var err error
		if payload, err = io.ReadAll(in); err != nil {
			return client.Submission{}, err
		}
	}
	if !json.Valid(payload) {
		return client.Submission{}, errors.New("the payload is no JSON")
	}
	return client.Submission{
		Type:           c.Type,
		Payload:        payload,
		Queue:          c.Queue,
		RunAt:          c.RunAt,
		Delay:          c.Delay,
		MaxRetries:     c.MaxRetries,
		Timeout:        c.Timeout,
		Deadline:       c.Deadline,
		Labels:         c.Label,
		IdempotencyKey: c.IdempotencyKey,
	}, nil
}

// Run prints one job.
func (c *getCommand) Run(ctx context.Context, flags *accessFlags, s *streams) error {
	id, err := parseID(c.ID)
	if err != nil {
		return err
	}
	api, at, err := flags.client()
	if err != nil {
		return err
	}
	j, err := await(ctx, api, id, c.Wait)
	if err != nil {
		return at.explain(err)
	}
	return printJob(s.out, j)
}

// Run cancels jobs.
func (c *cancelCommand) Run(ctx context.Context, flags *accessFlags, s *streams) error {
	return each(ctx, flags, c.ID, (*client.Client).Cancel, s)
}

// Run retries jobs.
func (c *retryCommand) Run(ctx context.Context, flags *accessFlags, s *streams) error {
	return each(ctx, flags, c.ID, (*client.Client).Retry, s)
}

// each does one thing to every job. A failure with one does not keep the others from it.
func each(
	ctx context.Context,
	flags *accessFlags,
	ids []string,
	act func(*client.Client, context.Context, tasks.ID) (client.JobInfo, error),
	s *streams,
) error {
	api, at, err := flags.client()
	if err != nil {
		return err
	}
	var failed []error
	for _, text := range ids {
		id, err := parseID(text)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		j, err := act(api, ctx, id)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, at.explain(err)))
			continue
		}
		fmt.Fprintf(s.out, "%s\t%s\n", j.ID, j.State)
	}
	return errors.Join(failed...)
}

func parseID(text string) (tasks.ID, error) {
	id, err := tasks.ParseID(text)
	if err != nil {
		return id, fmt.Errorf("%q is not the id of a job: %w", text, err)
	}
	return id, nil
}

// await reads a job once it is finished, or as it is when the time is over.
func await(ctx context.Context, api *client.Client, id tasks.ID, timeout time.Duration) (client.JobInfo, error) {
	if timeout > 0 {
		waiting, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if j, err := api.Wait(waiting, id); err == nil || waiting.Err() == nil {
			return j, err
		}
	}
	return api.Get(ctx, id)
}

// printJob prints the API's answer, indented.
func printJob(out io.Writer, j client.JobInfo) error {
	var text bytes.Buffer
	if err := json.Indent(&text, j.Raw, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, text.String())
	return err
}
