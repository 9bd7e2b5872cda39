package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill/waybill/internal/job"
)

const settleFrom = `unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::bool[], $8::text[], $9::bool[], $10::text[])
	AS u(id, attempt, worker, state, wait, result, failed, message, retryable, stack)`

// attemptFence lets an attempt's outcome through while its job is open, the attempt is the newest,
// it is its claimer's, and was not settled before. The job's state does not matter: one that was
// taken from a worker that seemed dead still gets that worker's outcome, wherever it waits, until
// another worker claims it.
const attemptFence = `j.id = ANY (ARRAY[u.id]) AND j.attempt = u.attempt AND j.settled_attempt < u.attempt AND j.worker_id = u.worker`

// finishHead and finishTail move jobs to their outcomes.
const finishHead = `
WITH done AS (
	DELETE FROM open_jobs j USING ` + settleFrom + ` WHERE ` + attemptFence

const finishTail = `
	RETURNING j.id, j.queue, u.state, j.run_at, j.delivery, j.attempt, j.worker_id, j.failures + u.failed::int AS failures, j.interruptions, j.started_at,
		CASE WHEN u.state = 'canceled' THEN coalesce(j.cancel_requested_at, now()) ELSE j.cancel_requested_at END AS cancel_requested_at,
		j.progress_percent, j.progress_message, u.result
), kept AS (
	INSERT INTO outcomes (id, queue, state, finished_at, run_at, delivery, attempt, settled_attempt, worker_id, failures, interruptions, started_at,
		cancel_requested_at, progress_percent, progress_message, result)
	SELECT id, queue, state, now(), run_at, delivery, attempt, attempt, worker_id, failures, interruptions, started_at,
		cancel_requested_at, progress_percent, progress_message, result::json FROM done
)`

// reopenSQL lets jobs wait again, unless a cancel was asked for.
const reopenSQL = `
WITH done AS (
	UPDATE open_jobs j SET state = u.state, settled_attempt = u.attempt, crashes = 0,
		run_at = CASE WHEN u.state = 'pending' THEN j.run_at ELSE now() + u.wait * interval '1 microsecond' END,
		failures = j.failures + u.failed::int,
		interruptions = j.interruptions + (u.state = 'pending')::int,
		delivery = j.delivery + (u.state = 'pending')::int,
		dispatch_at = CASE WHEN u.state = 'pending' THEN now() ELSE j.dispatch_at END
	FROM ` + settleFrom + ` WHERE ` + attemptFence + ` AND j.cancel_requested_at IS NULL
	RETURNING j.id, j.state, j.delivery, j.run_at
)`

const (
	finishSQL = finishHead + finishTail
	cancelSQL = finishHead + " AND j.cancel_requested_at IS NOT NULL" + finishTail

	settledTail = ` SELECT id, state, delivery, run_at FROM done`
	failedTail  = `, failed AS (
	INSERT INTO job_errors (job_id, attempt, at, message, retryable, stack)
	SELECT u.id, u.attempt, now(), u.message, u.retryable, u.stack FROM ` + settleFrom +
		` WHERE u.message IS NOT NULL AND u.id = ANY (ARRAY(SELECT id FROM done))
	ON CONFLICT DO NOTHING
)` + settledTail
)

// settleJobs finishes what is finished, lets the rest wait again, and finishes as canceled what a
// cancel was asked for meanwhile. These are commits of their own: what the first wrote stands if
// the second fails, and sending it again is harmless.
func (p *postgresEngine) settleJobs(ctx context.Context, sets []*job.Settlement) ([]settled, error) {
	var finish, reopen []*job.Settlement
	for i := range sets {
		if sets[i].State.Finished() {
			finish = append(finish, sets[i])
		} else {
			reopen = append(reopen, sets[i])
		}
	}
	done, err := p.settleSome(ctx, finishSQL, finish)
	if err != nil || len(reopen) == 0 {
		return done, err
	}
	again, err := p.settleSome(ctx, reopenSQL, reopen)
	if err != nil {
		return nil, err
	}
	done = append(done, again...)
	if len(again) == len(reopen) {
		return done, nil
	}
	off, err := p.settleSome(ctx, cancelSQL, canceled(reopen, again))
	return append(done, off...), err
}

// canceled are the settlements that were not let wait again, as ends.
func canceled(sets []*job.Settlement, done []settled) []*job.Settlement {
	waits := make(map[job.ID]bool, len(done))
	for _, d := range done {
		waits[d.ID] = true
	}
	var out []*job.Settlement
	for _, s := range sets {
		if !waits[s.JobID] {
			off := *s
			off.State, off.Wait = job.Canceled, 0
			out = append(out, &off)
		}
	}
	return out
}

func (p *postgresEngine) settleSome(ctx context.Context, sql string, sets []*job.Settlement) ([]settled, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	args, failed := settleArgs(sets)
	if failed {
		sql += failedTail
	} else {
		sql += settledTail
	}
	done := make([]settled, 0, len(sets))
	err := p.hotQuery(ctx, sql, args, func() { done = done[:0] }, func(r row) error {
		done = append(done, settled{ID: r.id(0), State: job.State(r.text(1)), Delivery: r.int4(2), RunAt: r.instant(3)})
		return nil
	})
	return done, err
}

// settleArgs lays settlements out as columns, and says whether any has an error to be kept.
func settleArgs(sets []*job.Settlement) (args []any, failed bool) {
	n := len(sets)
	id, worker := newColumn(pgtype.UUIDOID, n), newColumn(pgtype.UUIDOID, n)
	attempt, state, wait := newColumn(pgtype.Int4OID, n), newColumn(pgtype.TextOID, n), newColumn(pgtype.Int8OID, n)
	result, message, stack := newColumn(pgtype.TextOID, n), newColumn(pgtype.TextOID, n), newColumn(pgtype.TextOID, n)
	counts, retryable := newColumn(pgtype.BoolOID, n), newColumn(pgtype.BoolOID, n)
	for _, s := range sets {
		id.id(s.JobID)
		attempt.int4(s.Attempt)
		worker.id(s.WorkerID)
		state.text(string(s.State))
		wait.microseconds(s.Wait)
		result.bytesOrNull(s.Result)
		counts.flag(s.Failed)
		e := s.Error
		if e == nil {
			message.null()
			stack.null()
			retryable.flag(false)
			continue
		}
		message.text(job.CleanText(e.Message, job.MaxText))
		stack.textOrNull(job.CleanText(e.Stack, maxStack))
		retryable.flag(e.Retryable)
		failed = true
	}
	return []any{id, attempt, worker, state, wait, result, counts, message, retryable, stack}, failed
}
