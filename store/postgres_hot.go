package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill/waybill/internal/job"
)

// The hot writes: one statement each for any number of jobs, every column an array. State is compared as (state || ''), which no index knows, and
// keys by ANY, so that a look-up in the primary key is the one plan there is: see hotSettings.

const insertFrom = `
	FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::int[], $7::bigint[], $8::timestamptz[], $9::text[],
		$10::bigint[], $11::bigint[], $12::text[], $13::bytea[], $14::text[], $15::text[], $16::text[])
		AS u(id, owner_id, type, queue, run_at, max_retries, timeout_ms, deadline, backoff_kind, backoff_base_ms, backoff_max_ms,
			idempotency_key, fingerprint, traceparent, labels, payload)`

const insertSubmissions = `
	INSERT INTO submissions (id, owner_id, type, queue, created_at, max_retries, timeout_ms, deadline,
		backoff_kind, backoff_base_ms, backoff_max_ms, idempotency_key, fingerprint, traceparent, labels, payload)
	SELECT id, owner_id, type, queue, now(), max_retries, timeout_ms, deadline, backoff_kind, backoff_base_ms, backoff_max_ms, idempotency_key,
		fingerprint, traceparent, labels::json, payload::json` + insertFrom

const insertOpen = `
	INSERT INTO open_jobs (id, owner_id, queue, state, run_at, dispatch_at)
	SELECT id, owner_id, queue, CASE WHEN run_at > now() THEN 'scheduled' ELSE 'pending' END, coalesce(greatest(run_at, now()), now()), now()
	FROM unnest($1::uuid[], $2::uuid[], $4::text[], $5::timestamptz[]) AS o(id, owner_id, queue, run_at)`

const insertLabels = `
	INSERT INTO job_labels (owner_id, key, value, job_id)
	SELECT l.owner_id, l.key, l.value, l.id FROM unnest($17::uuid[], $18::uuid[], $19::text[], $20::text[]) AS l(id, owner_id, key, value)`

// One that looks for conflicts costs more, and must tell what it wrote.
const (
	insertPlain = "WITH asked AS (" + insertSubmissions + "), opened AS (" + insertOpen + "), labeled AS (" + insertLabels + ") SELECT now()"
	insertKeyed = "WITH asked AS (" + insertSubmissions + `
		ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id
	), opened AS (` + insertOpen + " WHERE o.id = ANY (ARRAY(SELECT id FROM asked))), labeled AS (" + insertLabels + `
		WHERE l.id = ANY (ARRAY(SELECT id FROM asked))
	) SELECT id, now() FROM asked`
)

const claimSQL = `
WITH c AS (
	UPDATE open_jobs j SET state = 'active', attempt = j.attempt + 1, worker_id = u.worker, started_at = now(), progress_percent = NULL, progress_message = NULL
	FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS u(id, delivery, worker)
	WHERE j.id = ANY (ARRAY[u.id]) AND j.delivery = u.delivery AND (j.state || '') IN ('pending', 'scheduled', 'retry') AND j.run_at <= now()
	RETURNING j.id, j.run_at, j.delivery, j.attempt, j.failures, j.interruptions, j.started_at
)
SELECT c.id, s.owner_id, s.type, s.queue, s.payload, s.labels, s.max_retries, s.timeout_ms, s.deadline, s.backoff_kind, s.backoff_base_ms,
	s.backoff_max_ms, c.run_at, c.delivery, c.attempt, c.failures, c.interruptions, s.created_at, c.started_at, s.traceparent
FROM c JOIN submissions s ON s.id = ANY (ARRAY[c.id])`

func (p *postgres) insertJobs(ctx context.Context, subs []job.Submission, strict bool) (done inserted, err error) {
	args, keyed := insertArgs(subs)
	if !keyed {
		done.all = true
		err = p.hot.QueryRow(ctx, insertPlain, args...).Scan(&done.at)
		return done, err
	}
	if !strict {
		return insertKeys(ctx, p.hot, args)
	}
	tx, err := p.hot.Begin(ctx)
	if err != nil {
		return done, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after Commit it does nothing
	done, err = insertKeys(ctx, tx, args)
	if err != nil || len(done.ids) < len(subs) {
		return inserted{}, err
	}
	return done, tx.Commit(ctx)
}

func insertKeys(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, args []any) (done inserted, err error) {
	rows, err := db.Query(ctx, insertKeyed, args...)
	if err != nil {
		return done, err
	}
	done.ids = map[job.ID]bool{}
	var id job.ID
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&id), &done.at}, func() error { done.ids[id] = true; return nil })
	return done, err
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

// The audit's walk. It needs the order of an index, so it goes over the other connections.
const deliveriesSQL = `
SELECT id, dispatch_at, delivery, state, run_at FROM open_jobs
WHERE ` + carried + ` AND queue = $1 AND (dispatch_at, id) > ($2, $3) AND dispatch_at < $4
ORDER BY dispatch_at, id LIMIT $5`

func (p *postgres) deliveries(ctx context.Context, queue string, after job.Position, before time.Time, limit int) ([]job.Delivery, error) {
	rows, err := p.pool.Query(ctx, deliveriesSQL, queue, after.DispatchAt.UTC(), pgID(after.ID), before, limit)
	if err != nil {
		return nil, err
	}
	var list []job.Delivery
	var d job.Delivery
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&d.ID), &d.DispatchAt, &d.Delivery, (*string)(&d.State), &d.RunAt}, func() error {
		list = append(list, d)
		return nil
	})
	return list, err
}

func pgID(id job.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func pgTime(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }
