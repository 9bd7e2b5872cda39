package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybill/waybill/internal/job"
)

type jobsCommand struct {
	client `embed:""`

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
	Delay          string            `help:"How long to wait before it may run, such as 90s."`
	RunAt          string            `help:"When it may run, such as 2027-01-31T18:00:00Z."`
	Deadline       string            `help:"When to give it up."`
	Timeout        string            `help:"How long an attempt may take, such as 30s."`
	MaxRetries     *int              `help:"How often it is tried again after a failure."`
	Label          map[string]string `help:"Labels, as key=value."`
	IdempotencyKey string            `help:"Repeating the command with the same key makes no second job."`
	Wait           time.Duration     `help:"Wait so long for it to finish; fail unless it completes."`
}

type listCommand struct {
	State string            `help:"scheduled, pending, held, active, retry, completed, archived or canceled."`
	Type  string            `help:"The task type."`
	Queue string            `help:"The queue."`
	Label map[string]string `help:"Labels, as key=value."`
	All   bool              `help:"Jobs of all accounts, not only your own."`
	Limit int               `default:"20" help:"How many; 0: all."`
	JSON  bool              `name:"json" help:"The same as --output json."`

	Output string `short:"o" default:"table" enum:"table,wide,json" help:"table, wide (with owner, labels and times), or json (a line for each)."`
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

// jobView is what the commands need of a job; text is all of it, as it came.
type jobView struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Queue      string            `json:"queue"`
	State      job.State         `json:"state"`
	Attempt    int               `json:"attempt"`
	CreatedAt  time.Time         `json:"created_at"`
	FinishedAt time.Time         `json:"finished_at"`
	OwnerID    string            `json:"owner_id"`
	Labels     map[string]string `json:"labels"`
	text       json.RawMessage
}

// UnmarshalJSON keeps the text beside what it says.
func (j *jobView) UnmarshalJSON(b []byte) error {
	type plain jobView
	j.text = bytes.Clone(b)
	return json.Unmarshal(b, (*plain)(j))
}

func (j *jobView) print(out io.Writer) error {
	var text bytes.Buffer
	if err := json.Indent(&text, j.text, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, text.String())
	return err
}

// Run submits one job.
func (c *submitCommand) Run(ctx context.Context, api *client, s *streams) error {
	payload := []byte(c.Payload)
	if c.Payload == "-" {
		var err error
		if payload, err = io.ReadAll(s.in); err != nil {
			return err
		}
	}
	if !json.Valid(payload) {
		return errors.New("the payload is no JSON")
	}
	body := map[string]any{"type": c.Type, "payload": json.RawMessage(payload)}
	for name, value := range map[string]string{"queue": c.Queue, "delay": c.Delay, "run_at": c.RunAt,
		"deadline": c.Deadline, "timeout": c.Timeout} {
		if value != "" {
			body[name] = value
		}
	}
	if c.MaxRetries != nil {
		body["max_retries"] = *c.MaxRetries
	}
	if len(c.Label) > 0 {
		body["labels"] = c.Label
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var j jobView
	if err := api.call(ctx, http.MethodPost, "/v1/jobs", text, c.IdempotencyKey, &j); err != nil {
		return err
	}
	if c.Wait == 0 {
		_, err = fmt.Fprintln(s.out, j.ID)
		return err
	}
	if err := api.await(ctx, j.ID, c.Wait, &j); err != nil {
		return err
	}
	if err := j.print(s.out); err != nil {
		return err
	}
	if j.State != job.Completed {
		return fmt.Errorf("job %s is %s", j.ID, j.State)
	}
	return nil
}

// Run lists jobs, page by page.
func (c *listCommand) Run(ctx context.Context, api *client, s *streams) error {
	query := url.Values{}
	for name, value := range map[string]string{"state": c.State, "type": c.Type, "queue": c.Queue} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for key, value := range c.Label {
		query.Set("label."+key, value)
	}
	if c.All {
		query.Set("owner", "all")
	}
	if c.JSON {
		c.Output = "json"
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	if c.Output != "json" {
		fmt.Fprintln(table, "ID\tSTATE\tTYPE\tQUEUE\tATTEMPT\tCREATED"+c.wide("\tFINISHED\tOWNER\tLABELS"))
	}
	for left := c.Limit; ; {
		page := struct {
			Data       []jobView `json:"data"`
			NextCursor string    `json:"next_cursor"`
		}{}
		limit := 200
		if c.Limit > 0 {
			limit = min(left, limit)
		}
		query.Set("limit", strconv.Itoa(limit))
		if err := api.call(ctx, http.MethodGet, "/v1/jobs?"+query.Encode(), nil, "", &page); err != nil {
			return err
		}
		for _, j := range page.Data {
			if c.Output == "json" {
				fmt.Fprintf(s.out, "%s\n", j.text)
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s%s\n", j.ID, j.State, j.Type, j.Queue, j.Attempt,
				localTime(j.CreatedAt), c.wide("\t"+localTime(j.FinishedAt)+"\t"+j.OwnerID+"\t"+labelText(j.Labels)))
		}
		if left -= len(page.Data); page.NextCursor == "" || c.Limit > 0 && left <= 0 {
			return table.Flush()
		}
		query.Set("cursor", page.NextCursor)
	}
}

// wide is text if more columns are wanted.
func (c *listCommand) wide(text string) string {
	if c.Output != "wide" {
		return ""
	}
	return text
}

func localTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func labelText(labels map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, key+"="+labels[key])
	}
	return cmp.Or(strings.Join(list, ","), "-")
}

// Run prints one job.
func (c *getCommand) Run(ctx context.Context, api *client, s *streams) error {
	var j jobView
	if err := api.await(ctx, c.ID, c.Wait, &j); err != nil {
		return err
	}
	return j.print(s.out)
}

// Run cancels jobs.
func (c *cancelCommand) Run(ctx context.Context, api *client, s *streams) error {
	return api.each(ctx, c.ID, "cancel", s)
}

// Run retries jobs.
func (c *retryCommand) Run(ctx context.Context, api *client, s *streams) error {
	return api.each(ctx, c.ID, "retry", s)
}
