package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// The hot writes: one statement each for any number of jobs, every column an array. State is
// compared as (state || ''), which no index knows, and keys by ANY, so that a look-up in the
// primary key is the one plan there is: see hotSettings.

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
	FROM ` + openFrom

const openFrom = "unnest($1::uuid[], $2::uuid[], $4::text[], $5::timestamptz[]) AS o(id, owner_id, queue, run_at)"

// openDelayed is openFrom where some of the jobs wait for a while from now on. It reads one array
// more, so it is used for these alone.
const openDelayed = `(
		SELECT id, owner_id, queue, coalesce(run_at, now() + delay * interval '1 microsecond') AS run_at
		FROM unnest($1::uuid[], $2::uuid[], $4::text[], $5::timestamptz[], $21::bigint[]) AS d(id, owner_id, queue, run_at, delay)
	) AS o`

const insertLabels = `
	INSERT INTO job_labels (owner_id, key, value, job_id)
	SELECT l.owner_id, l.key, l.value, l.id FROM unnest($17::uuid[], $18::uuid[], $19::text[], $20::text[]) AS l(id, owner_id, key, value)`

// One that looks for conflicts costs more, and must tell what it wrote.
const (
	insertPlain = "WITH asked AS (" + insertSubmissions + "), opened AS (" + insertOpen + "), labeled AS (" +
		insertLabels + ") SELECT now()"
	insertKeyed = "WITH asked AS (" + insertSubmissions + `
		ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id
	), opened AS (` + insertOpen + " WHERE o.id = ANY (ARRAY(SELECT id FROM asked))), labeled AS (" + insertLabels + `
		WHERE l.id = ANY (ARRAY(SELECT id FROM asked))
	) SELECT id, now() FROM asked`
)

// delayed are the statements above for submissions of which some have a Delay.
var delayed = map[string]string{
	insertPlain: strings.Replace(insertPlain, openFrom, openDelayed, 1),
	insertKeyed: strings.Replace(insertKeyed, openFrom, openDelayed, 1),
}

// insertParams is a statement as its arguments want it.
func insertParams(sql string, args []any) string {
	if len(args) > insertColumns {
		return delayed[sql]
	}
	return sql
}

// insertColumns is how many arguments an insertion without delays has.
const insertColumns = 20

// claimSQL makes jobs active. A pending job is claimed whatever its run_at says: pending means that
// it may run, and the database's clock may have stepped back since that was decided.
const claimSQL = `
WITH c AS (
	UPDATE open_jobs j SET state = 'active', attempt = j.attempt + 1, worker_id = u.worker, started_at = now(), progress_percent = NULL, progress_message = NULL
	FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS u(id, delivery, worker)
	WHERE j.id = ANY (ARRAY[u.id]) AND j.delivery = u.delivery 
		AND ((j.state || '') = 'pending' OR (j.state || '') IN ('scheduled', 'retry') AND j.run_at <= now())
	RETURNING j.id, j.run_at, j.delivery, j.attempt, j.failures, j.interruptions, j.started_at
)
SELECT c.id, s.owner_id, s.type, s.queue, s.payload, s.labels, s.max_retries, s.timeout_ms, s.deadline, s.backoff_kind, s.backoff_base_ms,
	s.backoff_max_ms, c.run_at, c.delivery, c.attempt, c.failures, c.interruptions, s.created_at, c.started_at, s.traceparent
FROM c JOIN submissions s ON s.id = ANY (ARRAY[c.id])`

func (p *postgresEngine) insertJobs(
	ctx context.Context,
	subs []job.Submission,
	strict bool,
) (done inserted, err error) {
	args, keyed := insertArgs(subs)
	switch {
	case !keyed:
		done.all = true
		err = p.hotQuery(
			ctx,
			insertParams(insertPlain, args),
			args,
			func() {},
			func(r row) error { done.at = r.instant(0); return nil },
		)
	case strict:
		err = repeat(p.repeatable, func() error { done, err = p.insertAll(ctx, args, len(subs)); return err })
	default:
		err = repeat(p.repeatable, func() error { done, err = insertKeys(ctx, p.hot, args); return err })
	}
	return done, err
}

// insertAll writes all n submissions; where a key of theirs is known it writes none.
func (p *postgresEngine) insertAll(ctx context.Context, args []any, n int) (inserted, error) {
	tx, err := p.hot.Begin(ctx)
	if err != nil {
		return inserted{}, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after Commit it does nothing
	done, err := insertKeys(ctx, tx, args)
	if err != nil || len(done.ids) < n {
		return inserted{}, err
	}
	return done, tx.Commit(ctx)
}

func insertKeys(ctx context.Context, db querier, args []any) (done inserted, err error) {
	done.ids = map[job.ID]bool{}
	err = query(ctx, db, insertParams(insertKeyed, args), args, func(r row) error {
		done.ids[r.id(0)], done.at = true, r.instant(1)
		return nil
	})
	return done, err
}

// insertWithin goes past bun's formatting too: the driver takes columns here as well.
func (p *postgresEngine) insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) (at time.Time, err error) {
	args, _ := insertArgs(subs)
	err = tx.Tx.QueryRowContext(ctx, insertParams(insertPlain, args), args...).Scan(&at)
	return at, err
}

func insertArgs(subs []job.Submission) (args []any, keyed bool) {
	n := len(subs)
	id, owner := newColumn(pgtype.UUIDOID, n), newColumn(pgtype.UUIDOID, n)
	kind, queue, backoff, payload := newColumn(
		pgtype.TextOID,
		n,
	), newColumn(
		pgtype.TextOID,
		n,
	), newColumn(
		pgtype.TextOID,
		n,
	), newColumn(
		pgtype.TextOID,
		n,
	)
	key, trace, labels := newColumn(pgtype.TextOID, n), newColumn(pgtype.TextOID, n), newColumn(pgtype.TextOID, n)
	runAt, deadline := newColumn(pgtype.TimestamptzOID, n), newColumn(pgtype.TimestamptzOID, n)
	retries, print := newColumn(pgtype.Int4OID, n), newColumn(pgtype.ByteaOID, n)
	timeout, base, limit := newColumn(pgtype.Int8OID, n), newColumn(pgtype.Int8OID, n), newColumn(pgtype.Int8OID, n)
	labelID, labelOwner := newColumn(pgtype.UUIDOID, 0), newColumn(pgtype.UUIDOID, 0)
	labelKey, labelValue := newColumn(pgtype.TextOID, 0), newColumn(pgtype.TextOID, 0)
	for i := range subs {
		s := &subs[i]
		id.id(s.ID)
		owner.id(s.OwnerID)
		kind.text(s.Type)
		queue.text(s.Queue)
		runAt.instant(s.RunAt)
		retries.int4(s.MaxRetries)
		timeout.milliseconds(s.Timeout)
		deadline.instant(s.Deadline)
		backoff.text(s.Backoff.Kind)
		base.milliseconds(s.Backoff.Base)
		limit.milliseconds(s.Backoff.Max)
		key.textOrNull(s.IdempotencyKey)
		print.bytesOrNull(s.Fingerprint)
		trace.textOrNull(s.Traceparent)
		if l := labelsJSON(s.Labels); l != nil {
			labels.text(*l)
		} else {
			labels.null()
		}
		payload.text(string(s.Payload))
		keyed = keyed || s.IdempotencyKey != ""
		for k, v := range s.Labels {
			labelID.id(s.ID)
			labelOwner.id(s.OwnerID)
			labelKey.text(k)
			labelValue.text(v)
		}
	}
	args = []any{
		id,
		owner,
		kind,
		queue,
		runAt,
		retries,
		timeout,
		deadline,
		backoff,
		base,
		limit,
		key,
		print,
		trace,
		labels,
		payload,
		labelID,
		labelOwner,
		labelKey,
		labelValue,
	}
	if delay := delays(subs); delay != nil {
		args = append(args, delay)
	}
	return args, keyed
}

// delays are the submissions' delays in microseconds; nil: none has one.
func delays(subs []job.Submission) *column {
	if !slices.ContainsFunc(subs, func(s job.Submission) bool { return s.Delay > 0 }) {
		return nil
	}
	c := newColumn(pgtype.Int8OID, len(subs))
	for i := range subs {
		c.microseconds(subs[i].Delay)
	}
	return c
}

func (p *postgresEngine) claimJobs(ctx context.Context, reqs []job.ClaimRequest) ([]*job.Job, error) {
	n := len(reqs)
	id, delivery, worker := newColumn(pgtype.UUIDOID, n), newColumn(pgtype.Int4OID, n), newColumn(pgtype.UUIDOID, n)
	for _, r := range reqs {
		id.id(r.JobID)
		delivery.int4(r.Delivery)
		worker.id(r.WorkerID)
	}
	jobs := make([]*job.Job, 0, n)
	err := p.hotQuery(ctx, claimSQL, []any{id, delivery, worker}, func() { jobs = jobs[:0] }, func(r row) error {
		j, err := r.claimed()
		jobs = append(jobs, j)
		return err
	})
	return jobs, err
}

// claimed reads a row of claimSQL.
func (r row) claimed() (j *job.Job, err error) {
	j = &job.Job{
		ID:      r.id(0),
		OwnerID: r.id(1),
		Type:    r.text(2),
		Queue:   r.text(3),
		Payload: r.bytes(4),
		State:   job.Active,
		Policy: job.Policy{MaxRetries: r.int4(6), Timeout: r.milliseconds(7), Deadline: r.instant(8),
			Backoff: job.Backoff{Kind: r.text(9), Base: r.milliseconds(10), Max: r.milliseconds(11)}},
		RunAt: r.instant(
			12,
		),
		Delivery:      r.int4(13),
		Attempt:       r.int4(14),
		Failures:      r.int4(15),
		Interruptions: r.int4(16),
		CreatedAt:     r.instant(17),
		StartedAt:     r.instant(18),
		Traceparent:   r.text(19),
	}
	if labels := r[5]; labels != nil {
		err = json.Unmarshal(labels, &j.Labels)
	}
	return j, err
}

// The reconciler's walk. It needs the order of an index, so it goes over the other connections.
const deliveriesSQL = `
SELECT id, dispatch_at, delivery, state, run_at FROM open_jobs
WHERE ` + deliveryRow + ` AND queue = $1 AND (dispatch_at, id) > ($2, $3) AND dispatch_at < $4
ORDER BY dispatch_at, id LIMIT $5`

const dueDeliveriesSQL = `
SELECT id, dispatch_at, delivery, state, run_at FROM open_jobs
WHERE ` + deliveryRow + ` AND state <> 'active' AND queue = $1 AND (dispatch_at, id) > ($2, $3) AND dispatch_at < $4 AND run_at < $4
ORDER BY dispatch_at, id LIMIT $5`

func (p *postgresEngine) deliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	return p.walk(ctx, deliveriesSQL, queue, after, before, limit)
}

func (p *postgresEngine) dueDeliveries(
	ctx context.Context,
	queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	return p.walk(ctx, dueDeliveriesSQL, queue, after, before, limit)
}

func (p *postgresEngine) walk(
	ctx context.Context,
	sql, queue string,
	after job.Position,
	before time.Time,
	limit int,
) ([]job.OpenDelivery, error) {
	var list []job.OpenDelivery
	err := repeat(p.repeatable, func() error {
		list = nil
		rows, err := p.pool.Query(ctx, sql, queue, after.DispatchAt.UTC(), pgID(after.ID), before, limit)
		if err != nil {
			return err
		}
		var d job.OpenDelivery
		_, err = pgx.ForEachRow(
			rows,
			[]any{(*[16]byte)(&d.ID), &d.DispatchAt, &d.Number, (*string)(&d.State), &d.RunAt},
			func() error {
				list = append(list, d)
				return nil
			},
		)
		return err
	})
	return list, err
}

func pgID(id job.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }
