package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// jobRow is the whole of a job as the view jobs shows it. It is never written.
type jobRow struct {
	bun.BaseModel `bun:"table:jobs,alias:j"`

	ID                job.ID    `bun:"id,pk"`
	OwnerID           job.ID    `bun:"owner_id"`
	Type              string    `bun:"type"`
	Queue             string    `bun:"queue"`
	State             job.State `bun:"state"`
	RunAt             time.Time `bun:"run_at"`
	Delivery          int       `bun:"delivery"`
	Attempt           int       `bun:"attempt"`
	SettledAttempt    int       `bun:"settled_attempt"`
	WorkerID          job.ID    `bun:"worker_id"`
	Failures          int       `bun:"failures"`
	Interruptions     int       `bun:"interruptions"`
	MaxRetries        int       `bun:"max_retries"`
	TimeoutMS         int64     `bun:"timeout_ms"`
	Deadline          time.Time `bun:"deadline,nullzero"`
	BackoffKind       string    `bun:"backoff_kind"`
	BackoffBaseMS     int64     `bun:"backoff_base_ms"`
	BackoffMaxMS      int64     `bun:"backoff_max_ms"`
	CreatedAt         time.Time `bun:"created_at"`
	StartedAt         time.Time `bun:"started_at,nullzero"`
	FinishedAt        time.Time `bun:"finished_at,nullzero"`
	CancelRequestedAt time.Time `bun:"cancel_requested_at,nullzero"`
	ProgressPercent   *float64  `bun:"progress_percent"`
	ProgressMessage   *string   `bun:"progress_message"`
	IdempotencyKey    string    `bun:"idempotency_key,nullzero"`
	Fingerprint       []byte    `bun:"fingerprint"`
	Traceparent       string    `bun:"traceparent,nullzero"`
	Labels            rawJSON   `bun:"labels"`
	Payload           rawJSON   `bun:"payload"`
	Result            rawJSON   `bun:"result"`

	errors []job.AttemptError
}

// payloadColumns are the columns that a list leaves out.
var payloadColumns = []string{"payload", "result", "fingerprint", "traceparent"}

type errorRow struct {
	bun.BaseModel `bun:"table:job_errors,alias:e"`

	JobID     job.ID    `bun:"job_id,pk"`
	Attempt   int       `bun:"attempt,pk"`
	At        time.Time `bun:"at"`
	Message   string    `bun:"message"`
	Retryable bool      `bun:"retryable"`
	Stack     string    `bun:"stack,nullzero"`
}

func (r *jobRow) job() *job.Job {
	j := &job.Job{
		ID:      r.ID,
		OwnerID: r.OwnerID,
		Type:    r.Type,
		Queue:   r.Queue,
		Payload: json.RawMessage(r.Payload),
		Result:  json.RawMessage(r.Result),
		Policy: job.Policy{MaxRetries: r.MaxRetries, Timeout: milliseconds(r.TimeoutMS), Deadline: r.Deadline,
			Backoff: job.Backoff{
				Kind: r.BackoffKind,
				Base: milliseconds(r.BackoffBaseMS),
				Max:  milliseconds(r.BackoffMaxMS),
			}},
		State:             r.State,
		RunAt:             r.RunAt,
		Delivery:          r.Delivery,
		Attempt:           r.Attempt,
		Failures:          r.Failures,
		Interruptions:     r.Interruptions,
		Errors:            r.errors,
		CreatedAt:         r.CreatedAt,
		StartedAt:         r.StartedAt,
		FinishedAt:        r.FinishedAt,
		CancelRequestedAt: r.CancelRequestedAt,
		Traceparent:       r.Traceparent,
	}
	if !r.WorkerID.IsZero() {
		j.Worker = r.WorkerID.String()
	}
	if r.ProgressPercent != nil {
		j.Progress = &job.Progress{Percent: *r.ProgressPercent}
		if r.ProgressMessage != nil {
			j.Progress.Message = *r.ProgressMessage
		}
	}
	if len(r.Labels) > 0 {
		_ = json.Unmarshal(r.Labels, &j.Labels) // written by labelsJSON
	}
	return j
}

// Job reads one job with its payload, result and newest errors.
func (s *Store) Job(ctx context.Context, id job.ID) (*job.Job, error) {
	row := new(jobRow)
	if err := s.db.NewSelect().Model(row).Where("id = ?", id).Scan(ctx); err != nil {
		return nil, s.found("job", err)
	}
	errs, err := s.jobErrors(ctx, id)
	if err != nil {
		return nil, err
	}
	row.errors = errs
	return row.job(), nil
}

// ListedJobs reads jobs without payload, result and errors, in no particular order. Those that do
// not exist are left out.
func (s *Store) ListedJobs(ctx context.Context, ids []job.ID) ([]*job.Job, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []*jobRow
	err := s.db.NewSelect().Model(&rows).ExcludeColumn(payloadColumns...).Where("id IN (?)", bun.List(ids)).Scan(ctx)
	if err != nil {
		return nil, s.wrap("select jobs", err)
	}
	jobs := make([]*job.Job, len(rows))
	for i, r := range rows {
		jobs[i] = r.job()
	}
	return jobs, nil
}

// jobErrors reads a job's newest errors, oldest first.
func (s *Store) jobErrors(ctx context.Context, id job.ID) ([]job.AttemptError, error) {
	var rows []errorRow
	err := s.db.NewSelect().
		Model(&rows).
		Where("job_id = ?", id).
		OrderExpr("attempt DESC, at DESC").
		Limit(job.MaxKeptErrors).
		Scan(ctx)
	if err != nil {
		return nil, s.wrap("select job errors", err)
	}
	out := make([]job.AttemptError, 0, len(rows))
	for _, r := range slices.Backward(rows) {
		out = append(
			out,
			job.AttemptError{Attempt: r.Attempt, At: r.At, Message: r.Message, Retryable: r.Retryable, Stack: r.Stack},
		)
	}
	return out, nil
}

// Jobs reads a page, newest first, without payloads, results and errors.
func (s *Store) Jobs(ctx context.Context, f job.Filter) ([]*job.Job, error) {
	var rows []*jobRow
	q := s.db.NewSelect().Model(&rows).ExcludeColumn(payloadColumns...).OrderExpr("j.id DESC").Limit(int64(f.Limit))
	q = where(q, f)
	ids, err := s.idsByState(ctx, f)
	if err != nil {
		return nil, err
	}
	if ids != nil {
		q = q.Where("j.id IN (?)", ids)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select jobs", err)
	}
	jobs := make([]*job.Job, len(rows))
	for i, r := range rows {
		jobs[i] = r.job()
	}
	return jobs, nil
}

// idLead is how much older than its created_at a job's id may be: it is made before, by another
// clock.
const idLead = time.Minute

func where(q *bun.SelectQuery, f job.Filter) *bun.SelectQuery {
	equal := func(column, value string) {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	// By the row that has it, so that its index leads there.
	if f.State.Finished() {
		equal("j.outcome", string(f.State))
	} else {
		equal("j.open_state", string(f.State))
	}
	equal("j.type", f.Type)
	equal("j.queue", f.Queue)
	if !f.OwnerID.IsZero() {
		q = q.Where("j.owner_id = ?", f.OwnerID)
	}
	if !f.Before.IsZero() {
		q = q.Where("j.id < ?", f.Before)
	}
	if !f.CreatedAfter.IsZero() {
		q = q.Where("j.id >= ?", job.FirstIDAt(f.CreatedAfter.Add(-idLead))).Where("j.created_at > ?", f.CreatedAfter)
	}
	for key, value := range f.Labels {
		q = q.Where(
			"EXISTS (SELECT 1 FROM job_labels l WHERE l.job_id = j.id AND l.owner_id = j.owner_id AND l.key = ? AND "+
				"l.value = ?)",
			key,
			value,
		)
	}
	return q
}

// idsByState selects the ids of a page of jobs in a state from the one narrow table that knows the
// state, where that table knows all that is asked for; else nil. Left to itself, PostgreSQL takes
// jobs of a state for spread evenly over all ids, and reads a million rows to meet the first one.
// The indexes lead by queue, so the newest of each queue are read.
func (s *Store) idsByState(ctx context.Context, f job.Filter) (*bun.RawQuery, error) {
	finished := f.State.Finished()
	if f.State == "" || f.Type != "" || len(f.Labels) > 0 || !f.CreatedAfter.IsZero() ||
		finished && !f.OwnerID.IsZero() {
		return nil, nil
	}
	table := "open_jobs"
	if finished {
		table = "outcomes"
	}
	queues := []string{f.Queue}
	if f.Queue == "" {
		var err error
		if queues, err = s.queuesOf(ctx, table, "state = ?", f.State); err != nil {
			return nil, err
		}
	}
	var each []string
	var newest []any
	for _, queue := range queues {
		q := s.db.NewSelect().
			Table(table).
			Column("id").
			Where("state = ?", f.State).
			Where("queue = ?", queue).
			OrderExpr("id DESC").
			Limit(int64(f.Limit))
		if !f.OwnerID.IsZero() {
			q = q.Where("owner_id = ?", f.OwnerID)
		}
		if !f.Before.IsZero() {
			q = q.Where("id < ?", f.Before)
		}
		each, newest = append(each, "SELECT id FROM (?) AS newest"), append(newest, q)
	}
	if len(each) == 0 {
		return s.db.NewRaw("SELECT id FROM ? WHERE false", bun.Ident(table)), nil
	}
	return s.db.NewRaw(strings.Join(each, " UNION ALL "), newest...), nil
}

// OpenJobs counts an owner's open jobs, but never beyond limit.
func (s *Store) OpenJobs(ctx context.Context, owner job.ID, limit int) (int, error) {
	bounded := s.db.NewSelect().Table("open_jobs").ColumnExpr("1").Where("owner_id = ?", owner).Limit(int64(limit))
	n, err := s.db.NewSelect().TableExpr("(?) AS bounded", bounded).Count(ctx)
	return int(n), s.wrap("count open jobs", err)
}

// FinishedAmong answers which of the ids are finished or gone.
func (s *Store) FinishedAmong(ctx context.Context, ids []job.ID) ([]job.ID, error) {
	var open []job.ID
	err := s.db.NewSelect().Table("open_jobs").Column("id").Where("id IN (?)", bun.List(ids)).Scan(ctx, &open)
	if err != nil {
		return nil, s.wrap("select finished jobs", err)
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id job.ID) bool { return slices.Contains(open, id) }), nil
}

// rawJSON is JSON text that is kept byte for byte.
type rawJSON json.RawMessage

// Value writes it as text; nothing is NULL.
func (r rawJSON) Value() (driver.Value, error) {
	if r == nil {
		return nil, nil
	}
	return string(r), nil
}

// Scan reads a json or text column.
func (r *rawJSON) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*r = nil
	case string:
		*r = rawJSON(v)
	case []byte:
		*r = slices.Clone(v)
	}
	return nil
}
