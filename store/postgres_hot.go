package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill/waybill/internal/job"
)

// The three hot writes: one statement each for any number of jobs, every column an array. Joins within a statement are written as
// = ANY (ARRAY(…)), which is hashed: hotSettings leave joins nothing but nested loops. State is compared as (state || ''), which no index knows:
// statistics of a moment when the queue was empty make the index of open jobs look like the shortest way to every job.

const insertHead = `
WITH new AS (
	INSERT INTO jobs (id, owner_id, type, queue, state, run_at, dispatch_at, created_at, max_retries, timeout_ms, deadline,
		backoff_kind, backoff_base_ms, backoff_max_ms, idempotency_key, fingerprint, traceparent, labels, payload)
	SELECT id, owner_id, type, queue, CASE WHEN run_at > now() THEN 'scheduled' ELSE 'pending' END, coalesce(greatest(run_at, now()), now()),
		now(), now(), max_retries, timeout_ms, deadline, backoff_kind, backoff_base_ms, backoff_max_ms, idempotency_key, fingerprint,
		traceparent, labels::json, payload::json
	FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::int[], $7::bigint[], $8::timestamptz[], $9::text[],
		$10::bigint[], $11::bigint[], $12::text[], $13::bytea[], $14::text[], $15::text[], $16::text[])
		AS u(id, owner_id, type, queue, run_at, max_retries, timeout_ms, deadline, backoff_kind, backoff_base_ms, backoff_max_ms,
			idempotency_key, fingerprint, traceparent, labels, payload)
`

const insertTail = `
	RETURNING id, state, run_at, created_at
), labeled AS (
	INSERT INTO job_labels (owner_id, key, value, job_id)
	SELECT l.owner_id, l.key, l.value, l.id FROM unnest($17::uuid[], $18::uuid[], $19::text[], $20::text[]) AS l(id, owner_id, key, value)
	WHERE l.id = ANY (ARRAY(SELECT id FROM new))
)
SELECT id, state, run_at, created_at FROM new`

const onKnownKey = `ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING`

const (
	insertPlain = insertHead + insertTail // costs less than one that looks for conflicts
	insertKeyed = insertHead + onKnownKey + insertTail
)

const claimSQL = `
UPDATE jobs j SET state = 'active', attempt = j.attempt + 1, worker_id = u.worker, started_at = now(), progress_percent = NULL, progress_message = NULL
FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS u(id, delivery, worker)
WHERE j.id = u.id AND j.delivery = u.delivery AND (j.state || '') IN ('pending', 'scheduled', 'retry') AND j.run_at <= now()
RETURNING j.id, j.owner_id, j.type, j.queue, j.payload, j.labels, j.max_retries, j.timeout_ms, j.deadline, j.backoff_kind, j.backoff_base_ms,
	j.backoff_max_ms, j.run_at, j.delivery, j.attempt, j.failures, j.interruptions, j.created_at, j.started_at, j.traceparent`

const settleSQL = `
WITH u AS (
	SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::bool[], $8::text[], $9::bool[], $10::text[])
		AS u(id, attempt, worker, state, run_at, result, failed, message, retryable, stack)
), done AS (
	UPDATE jobs j SET
		state = CASE WHEN u.state IN ('retry', 'scheduled', 'pending') AND j.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE u.state END,
		finished_at = CASE WHEN u.state IN ('completed', 'archived', 'canceled') OR j.cancel_requested_at IS NOT NULL THEN now() END,
		cancel_requested_at = CASE WHEN u.state = 'canceled' THEN coalesce(j.cancel_requested_at, now()) ELSE j.cancel_requested_at END,
		settled_attempt = u.attempt,
		run_at = coalesce(u.run_at, j.run_at),
		result = u.result::json,
		failures = j.failures + u.failed::int,
		interruptions = j.interruptions + (u.state = 'pending')::int,
		crashes = 0,
		delivery = j.delivery + (u.state = 'pending')::int,
		dispatch_at = CASE WHEN u.state = 'pending' THEN now() ELSE j.dispatch_at END
	FROM u
	WHERE j.id = u.id AND j.attempt = u.attempt AND j.settled_attempt < u.attempt AND (j.state || '') IN ('active', 'pending') AND j.worker_id = u.worker
	RETURNING j.id, j.attempt, j.state, j.delivery, j.run_at
), failed AS (
	INSERT INTO job_errors (job_id, attempt, at, message, retryable, stack)
	SELECT u.id, u.attempt, now(), u.message, u.retryable, u.stack FROM u WHERE u.message IS NOT NULL AND u.id = ANY (ARRAY(SELECT id FROM done))
	ON CONFLICT DO NOTHING
)
SELECT id, state, delivery, run_at FROM done`

func (p *postgres) insertJobs(ctx context.Context, subs []job.Submission, strict bool) ([]inserted, error) {
	args, keyed := insertArgs(subs)
	sql := insertPlain
	if keyed {
		sql = insertKeyed
	}
	if !strict || !keyed {
		return collect(ctx, p, sql, args, scanInserted)
	}
	tx, err := p.hot.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after Commit it does nothing
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	done, err := pgx.CollectRows(rows, scanInserted)
	if err != nil || len(done) < len(subs) {
		return nil, err
	}
	return done, tx.Commit(ctx)
}

func scanInserted(rows pgx.CollectableRow) (r inserted, err error) {
	err = rows.Scan((*[16]byte)(&r.ID), (*string)(&r.State), &r.RunAt, &r.CreatedAt)
	return r, err
}

func insertArgs(subs []job.Submission) (args []any, keyed bool) {
	n := len(subs)
	id, owner := make([]pgtype.UUID, n), make([]pgtype.UUID, n)
	kind, queue, backoff, payload := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	key, trace, labels := make([]*string, n), make([]*string, n), make([]*string, n)
	runAt, deadline := make([]pgtype.Timestamptz, n), make([]pgtype.Timestamptz, n)
	retries := make([]int32, n)
	timeout, base, limit := make([]int64, n), make([]int64, n), make([]int64, n)
	print := make([][]byte, n)
	var labelID, labelOwner []pgtype.UUID
	var labelKey, labelValue []string
	for i := range subs {
		s := &subs[i]
		id[i], owner[i] = pgID(s.ID), pgID(s.OwnerID)
		kind[i], queue[i], backoff[i], payload[i] = s.Type, s.Queue, s.Backoff.Kind, string(s.Payload)
		key[i], trace[i], labels[i] = textOrNull(s.IdempotencyKey), textOrNull(s.Traceparent), labelsJSON(s.Labels)
		runAt[i], deadline[i] = pgTime(s.RunAt), pgTime(s.Deadline)
		retries[i], timeout[i], base[i], limit[i] = int32(s.MaxRetries), s.Timeout.Milliseconds(), s.Backoff.Base.Milliseconds(), s.Backoff.Max.Milliseconds()
		print[i] = s.Fingerprint
		keyed = keyed || s.IdempotencyKey != ""
		for k, v := range s.Labels {
			labelID, labelOwner, labelKey, labelValue = append(labelID, id[i]), append(labelOwner, owner[i]), append(labelKey, k), append(labelValue, v)
		}
	}
	return []any{id, owner, kind, queue, runAt, retries, timeout, deadline, backoff, base, limit, key, print, trace, labels, payload,
		labelID, labelOwner, labelKey, labelValue}, keyed
}

func (p *postgres) claimJobs(ctx context.Context, reqs []job.ClaimRequest) ([]*job.Job, error) {
	n := len(reqs)
	id, worker, delivery := make([]pgtype.UUID, n), make([]pgtype.UUID, n), make([]int32, n)
	for i, r := range reqs {
		id[i], worker[i], delivery[i] = pgID(r.JobID), pgID(r.WorkerID), int32(r.Delivery)
	}
	return collect(ctx, p, claimSQL, []any{id, delivery, worker}, scanClaimed)
}

func scanClaimed(rows pgx.CollectableRow) (*job.Job, error) {
	j := &job.Job{State: job.Active}
	var timeout, base, limit int64
	var deadline pgtype.Timestamptz
	var labels []byte
	var trace *string
	err := rows.Scan((*[16]byte)(&j.ID), (*[16]byte)(&j.OwnerID), &j.Type, &j.Queue, (*[]byte)(&j.Payload), &labels, &j.MaxRetries, &timeout, &deadline,
		&j.Backoff.Kind, &base, &limit, &j.RunAt, &j.Delivery, &j.Attempt, &j.Failures, &j.Interruptions, &j.CreatedAt, &j.StartedAt, &trace)
	if err != nil {
		return nil, err
	}
	j.Timeout, j.Backoff.Base, j.Backoff.Max = milliseconds(timeout), milliseconds(base), milliseconds(limit)
	j.Deadline = deadline.Time
	if trace != nil {
		j.Traceparent = *trace
	}
	if labels != nil {
		err = json.Unmarshal(labels, &j.Labels)
	}
	return j, err
}

func (p *postgres) settleJobs(ctx context.Context, sets []job.Settlement) ([]settled, error) {
	n := len(sets)
	id, worker := make([]pgtype.UUID, n), make([]pgtype.UUID, n)
	attempt, state := make([]int32, n), make([]string, n)
	runAt := make([]pgtype.Timestamptz, n)
	result, message, stack := make([]*string, n), make([]*string, n), make([]*string, n)
	failed, retryable := make([]bool, n), make([]bool, n)
	for i := range sets {
		s := &sets[i]
		id[i], worker[i], attempt[i], state[i], failed[i] = pgID(s.JobID), pgID(s.WorkerID), int32(s.Attempt), string(s.State), s.Failed
		runAt[i], result[i] = pgTime(s.RunAt), textOrNull(string(s.Result))
		if e := s.Error; e != nil {
			m := job.CleanText(e.Message, job.MaxText)
			message[i], stack[i], retryable[i] = &m, textOrNull(job.CleanText(e.Stack, maxStack)), e.Retryable
		}
	}
	return collect(ctx, p, settleSQL, []any{id, attempt, worker, state, runAt, result, failed, message, retryable, stack},
		func(rows pgx.CollectableRow) (r settled, err error) {
			err = rows.Scan((*[16]byte)(&r.ID), (*string)(&r.State), &r.Delivery, &r.RunAt)
			return r, err
		})
}

func pgID(id job.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func pgTime(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }
