package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill/waybill/internal/job"
)

// historySQL lets the database write down every change of every job. It is part of the test's
// databases only.
const historySQL = `
CREATE TABLE chaos_history (
	seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), job_id uuid NOT NULL, before text, state text NOT NULL,
	attempt int NOT NULL, settled int NOT NULL, delivery int NOT NULL, failures int NOT NULL, interruptions int NOT NULL, run_at timestamptz NOT NULL,
	worker text NOT NULL, cancel boolean NOT NULL
);
CREATE INDEX chaos_history_job ON chaos_history (job_id, seq);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO chaos_history (job_id, before, state, attempt, settled, delivery, failures, interruptions, run_at, worker, cancel)
	VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state ELSE (SELECT h.state FROM chaos_history h WHERE h.job_id = NEW.id ORDER BY h.seq DESC LIMIT 1) END,
		NEW.state, NEW.attempt, NEW.settled_attempt, NEW.delivery, NEW.failures,
		NEW.interruptions, NEW.run_at, coalesce(right(NEW.worker_id::text, 6), ''), NEW.cancel_requested_at IS NOT NULL);
	RETURN NULL;
END $$;
CREATE TRIGGER chaos_opened AFTER INSERT ON open_jobs FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_changed AFTER UPDATE ON open_jobs FOR EACH ROW
	WHEN ((OLD.state, OLD.attempt, OLD.settled_attempt, OLD.delivery, OLD.cancel_requested_at) IS DISTINCT FROM
		(NEW.state, NEW.attempt, NEW.settled_attempt, NEW.delivery, NEW.cancel_requested_at))
	EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_finished AFTER INSERT ON outcomes FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE FUNCTION chaos_forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE EXCEPTION 'an outcome was rewritten';
END $$;
CREATE TRIGGER chaos_rewritten BEFORE UPDATE ON outcomes FOR EACH ROW EXECUTE FUNCTION chaos_forbid();
`

// step is one change of one job. Steps of a job are in the order in which they were committed: each
// waits for the lock of the row that it takes the job from.
type step struct {
	At            time.Time
	JobID         string
	Before        *job.State // nil: the row was made
	State         job.State
	Attempt       int
	Settled       int
	Delivery      int
	Failures      int
	Interruptions int
	RunAt         time.Time
	Worker        string
	Cancel        bool
}

func (s step) String() string {
	before := "(none)"
	if s.Before != nil {
		before = string(*s.Before)
	}
	cancel := ""
	if s.Cancel {
		cancel = " cancel asked for"
	}
	return fmt.Sprintf(
		"%s %-9s -> %-9s attempt %d settled %d delivery %d failures %d interruptions %d run_at %s worker %s%s",
		s.At.Format("15:04:05.000"),
		before,
		s.State,
		s.Attempt,
		s.Settled,
		s.Delivery,
		s.Failures,
		s.Interruptions,
		s.RunAt.Format("15:04:05.000"),
		s.Worker,
		cancel,
	)
}

// claims reports whether the step gave the job to a worker.
func (s step) claims() bool {
	return s.State == job.Active && (s.Before == nil || *s.Before != job.Active)
}

// finishes reports whether the step gave the job its outcome.
func (s step) finishes() bool { return s.State.Finished() && (s.Before == nil || !s.Before.Finished()) }

func readHistory(ctx context.Context, pool *pgxpool.Pool) (map[string][]step, error) {
	rows, err := pool.Query(
		ctx,
		`SELECT at, job_id::text, before, state, attempt, settled, delivery, failures, interruptions, run_at, worker, cancel
		FROM chaos_history ORDER BY seq`,
	)
	if err != nil {
		return nil, err
	}
	steps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[step])
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	all := map[string][]step{}
	for _, s := range steps {
		all[s.JobID] = append(all[s.JobID], s)
	}
	return all, nil
}

// row is a job as the ledger has it in the end.
type row struct {
	ID            string
	Ref           string
	Key           string
	Type          string
	State         job.State
	Attempt       int
	Failures      int
	Interruptions int
	CreatedAt     time.Time
	Errors        int
	LastError     string
	Answer        string // of the sink, where the outcome holds one
}

func readRows(ctx context.Context, pool *pgxpool.Pool) (map[string]row, error) {
	rows, err := pool.Query(
		ctx,
		`SELECT id::text, coalesce(labels->>'ref', ''), coalesce(idempotency_key, ''), type, state, attempt, failures, interruptions,
		created_at, (SELECT count(*) FROM job_errors e WHERE e.job_id = j.id),
		coalesce((SELECT message FROM job_errors e WHERE e.job_id = j.id ORDER BY at DESC LIMIT 1), ''),
		CASE type WHEN 'http.request' THEN coalesce(result->>'body', '') ELSE '' END FROM jobs j`,
	)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read the jobs: %w", err)
	}
	all := map[string]row{}
	for _, r := range list {
		all[r.ID] = r
	}
	return all, nil
}
