package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// orphanBatch bounds how many jobs one pass takes back, and so how long it holds their rows.
const orphanBatch = 1000

// A job that lost its worker twice in a row is a suspect. Suspects that are taken back together
// come back one each second, in no order, over a minute at most: taken by one worker at one moment
// they would share its end again, until the innocent are quarantined with the guilty.
const (
	suspectCrashes  = 2 // lost workers in a row
	suspectInterval = time.Second
	suspectWindow   = 60 // places, each suspectInterval after the one before
)

// RescueLost takes back active jobs whose worker's heartbeat is stale or gone: each becomes pending
// with the next delivery (a suspect may have to wait, scheduled), canceled if that was requested,
// or archived as quarantined if it lost its worker too often in a row. It returns them as they are
// then, payload included.
//
// Only a process whose own heartbeat reached the ledger all that time may declare a worker lost:
// after an outage of the database all heartbeats are stale. Other processes get no rows.
//
// A database whose clock steps back leaves the heartbeats of before ahead of it. Each living
// process corrects its own with its next heartbeat, and only then may it declare others lost; so by
// then a heartbeat that still lies ahead is that of a dead worker.
func (s *Store) RescueLost(ctx context.Context, judge job.ID) ([]*job.Job, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	jobs, lost, err := s.rescueBatch(ctx, judge, now, nil)
	if job.FaultOf(err) == job.FaultNone || len(lost) < 2 {
		return jobs, err
	}
	err = oneByOne(lost, err, func(id job.ID) error {
		some, _, err := s.rescueBatch(ctx, judge, now, []job.ID{id})
		jobs = append(jobs, some...)
		return err
	})
	if len(jobs) > 0 && err != nil {
		s.log.ErrorContext(ctx, "a job cannot be taken back from its lost worker, the others go on", "err", err)
		err = nil // what was taken back must be sent
	}
	return jobs, err
}

// rescueBatch is one transaction, over all jobs or only those given. With an error, it answers
// which jobs it was about.
func (s *Store) rescueBatch(
	ctx context.Context,
	judge job.ID,
	now time.Time,
	only []job.ID,
) (jobs []*job.Job, lost []job.ID, err error) {
	var rows []*jobRow
	err = s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		locked, err := s.lockLost(ctx, tx, judge, now, only)
		if err != nil || len(locked) == 0 {
			return err
		}
		lost = make([]job.ID, len(locked))
		for i := range locked {
			lost[i] = locked[i].ID
		}
		if err := s.rescue(ctx, tx, locked, now); err != nil {
			return err
		}
		rows, err = loadJobs(ctx, tx, lost)
		return err
	})
	if err != nil {
		return nil, lost, s.wrap("take back orphans", err)
	}
	for _, r := range rows {
		jobs = append(jobs, r.job())
	}
	s.observeFinished(jobs)
	return jobs, lost, nil
}

func (s *Store) rescue(ctx context.Context, tx bun.Tx, lost []openJob, now time.Time) error {
	var ended []outcomeRow
	var atOnce, suspects []job.ID
	notes := make([]errorRow, len(lost))
	for i := range lost {
		r := &lost[i]
		r.Interruptions++
		r.Crashes++
		state := job.Pending
		switch {
		case !r.CancelRequestedAt.IsZero():
			state = job.Canceled
			ended = append(ended, r.outcome(state, now))
		case r.Crashes >= job.MaxCrashes:
			state = job.Archived
			ended = append(ended, r.outcome(state, now))
		case r.Crashes >= suspectCrashes:
			suspects = append(suspects, r.ID)
		default:
			atOnce = append(atOnce, r.ID)
		}
		notes[i] = errorRow{
			JobID:     r.ID,
			Attempt:   r.Attempt,
			At:        now.UTC(),
			Message:   lostMessage(r, state),
			Retryable: !state.Finished(),
		}
	}
	if err := s.rerunLost(ctx, tx, now, atOnce, suspects); err != nil {
		return err
	}
	if err := finish(ctx, tx, ended...); err != nil {
		return err
	}
	_, err := tx.NewInsert().Model(&notes).On("CONFLICT DO NOTHING").Exec(ctx)
	return err
}

// rerunLost lets jobs wait for another worker, suspects apart from each other.
func (s *Store) rerunLost(ctx context.Context, tx bun.Tx, now time.Time, atOnce, suspects []job.ID) error {
	places := map[int][]job.ID{0: atOnce}
	for i, k := range rand.Perm(len(suspects)) {
		places[k%suspectWindow] = append(places[k%suspectWindow], suspects[i])
	}
	for place, ids := range places {
		if len(ids) == 0 {
			continue
		}
		q := tx.NewUpdate().Table("open_jobs").Set("state = ?", job.Pending)
		if place > 0 {
			q = tx.NewUpdate().
				Table("open_jobs").
				Set("state = ?", job.Scheduled).
				Set("run_at = ?", now.Add(time.Duration(place)*suspectInterval).UTC())
		}
		_, err := q.Set("interruptions = interruptions + 1").Set("crashes = crashes + 1").
			Set("delivery = delivery + 1").Set("dispatch_at = ?", s.clock()).Where("id IN (?)", bun.List(ids)).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// lockLost picks active jobs, or those given of them, whose worker is dead in the eyes of this
// judge. What another judge is just taking back is left to him.
func (s *Store) lockLost(
	ctx context.Context,
	tx bun.Tx,
	judge job.ID,
	now time.Time,
	only []job.ID,
) ([]openJob, error) {
	stale := now.Add(-StaleAfter)
	heard := tx.NewSelect().Table("workers").ColumnExpr("1").Where("id = ?", judge).
		Where("beating_since < ?", stale).Where("beat_at >= ?", now.Add(-heartbeatGap))
	var rows []openJob
	q := tx.NewSelect().Model(&rows).Join("LEFT JOIN workers AS w ON w.id = o.worker_id").
		Where("o.state = ?", job.Active).
		Where("(w.id IS NULL OR w.beat_at < ? OR w.beat_at > ?)", stale, now.Add(heartbeatGap)).
		Where("EXISTS (?)", heard).Limit(orphanBatch)
	if only != nil {
		q = q.Where("o.id IN (?)", bun.List(only))
	}
	if s.engine.forUpdate() != "" {
		q = q.For("UPDATE OF o SKIP LOCKED")
	}
	err := q.Scan(ctx)
	return rows, err
}

func lostMessage(r *openJob, state job.State) string {
	if state == job.Archived {
		return fmt.Sprintf("quarantined: %d workers in a row were lost while they ran this job", r.Crashes)
	}
	return "the worker was lost while it ran this attempt"
}
