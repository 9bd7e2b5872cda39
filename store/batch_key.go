package store

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// A batch that came with an Idempotency-Key gives each of its jobs a key of its own: see
// job.BatchKey.

// member is a job that was submitted in a batch with an Idempotency-Key.
type member struct {
	ID      job.ID `bun:"id"`
	OwnerID job.ID `bun:"owner_id"`
	Key     string `bun:"idempotency_key"`
}

// wholeBatches answers which of the jobs may be deleted: all, but for members of batches of which
// another member is not due, and in addition the other members of those of which all are.
func (s *Store) wholeBatches(ctx context.Context, tx bun.Tx, ids []job.ID, before time.Time) ([]job.ID, error) {
	var members []member
	err := tx.NewSelect().
		Table("submissions").
		Column("id", "owner_id", "idempotency_key").
		Where("id IN (?)", bun.List(ids)).
		Where("idempotency_key LIKE ?", "%"+job.BatchMark+"%").
		Scan(ctx, &members)
	if err != nil || len(members) == 0 {
		return ids, err
	}
	batches := map[ownedKey][]job.ID{}
	apart := map[job.ID]bool{}
	for _, m := range members {
		key, _, _ := strings.Cut(m.Key, job.BatchMark)
		batch := ownedKey{m.OwnerID, key}
		batches[batch] = append(batches[batch], m.ID)
		apart[m.ID] = true
	}
	due := slices.DeleteFunc(ids, func(id job.ID) bool { return apart[id] })
	for batch, known := range batches {
		all, err := s.dueBatch(ctx, tx, batch, known, before)
		if err != nil {
			return nil, err
		}
		due = append(due, all...)
	}
	return due, nil
}

// dueBatch answers all members of a batch of which some are known, or none where one of them is not
// due.
func (s *Store) dueBatch(
	ctx context.Context,
	tx bun.Tx,
	batch ownedKey,
	known []job.ID,
	before time.Time,
) ([]job.ID, error) {
	all, err := batchMembers(ctx, tx, batch)
	if err != nil {
		return nil, err
	}
	all = append(all, known...) // of a batch with gaps, not every member was found
	slices.SortFunc(all, func(a, b job.ID) int { return bytes.Compare(a[:], b[:]) })
	all = slices.Compact(all)
	for some := range slices.Chunk(all, purgeBatch) {
		due, err := s.lockFinished(
			ctx,
			tx,
			before,
			func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("id IN (?)", bun.List(some)) },
		)
		if err != nil || len(due) < len(some) {
			return nil, err
		}
	}
	return all, nil
}

// batchMembers looks for a batch's keys one after the other, some at a time, until there are no
// more.
func batchMembers(ctx context.Context, tx bun.Tx, batch ownedKey) (all []job.ID, err error) {
	for from, some := 0, 100; from < job.MaxBatch; from, some = from+some, 10*some {
		some = min(some, job.MaxBatch-from)
		keys := make([]string, some)
		for i := range keys {
			keys[i] = job.BatchKey(batch.key, from+i)
		}
		var ids []job.ID
		err = tx.NewSelect().Table("submissions").Column("id").Where("owner_id = ?", batch.owner).
			Where("idempotency_key IN (?)", bun.List(keys)).Scan(ctx, &ids)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
		if len(ids) < some {
			return all, nil
		}
	}
	return all, nil
}
