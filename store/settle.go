package store

import (
	"bytes"
	"context"
	"slices"

	"github.com/waybill/waybill/internal/job"
)

// maxStack is how many bytes of a panic's stack are kept.
const maxStack = 8 << 10

// Settle records outcomes: one statement for all, each fenced by its attempt, its worker, and that
// the attempt was not settled before. A settlement that the fence refuses came too late: another
// attempt owns the job (Accepted is false), unless the ledger shows that the very same settlement
// was recorded before and only its answer was lost. Results are in the order of the settlements.
func (s *Store) Settle(ctx context.Context, sets []*job.Settlement) ([]job.Settled, error) {
	newest := make(map[job.ID]int, len(sets)) // of two attempts of one job only the newer can be current
	for i := range sets {
		if k, ok := newest[sets[i].JobID]; !ok || sets[k].Attempt < sets[i].Attempt {
			newest[sets[i].JobID] = i
		}
	}
	unique := make([]*job.Settlement, 0, len(sets))
	for i := range sets {
		if newest[sets[i].JobID] == i {
			unique = append(unique, sets[i])
		}
	}
	// See lockOpen.
	slices.SortFunc(unique, func(a, b *job.Settlement) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	rows, err := s.engine.settleJobs(ctx, unique)
	if err != nil {
		return nil, s.wrap("settle jobs", err)
	}
	out := make([]job.Settled, len(sets))
	for _, r := range rows {
		out[newest[r.ID]] = job.Settled{Accepted: true, State: r.State, Delivery: r.Delivery, RunAt: r.RunAt}
	}
	if len(rows) == len(sets) {
		return out, nil
	}
	return out, s.judge(ctx, sets, out)
}

// judge says why settlements were not taken: their rows show it.
func (s *Store) judge(ctx context.Context, sets []*job.Settlement, out []job.Settled) error {
	var missing []job.ID
	for i := range sets {
		if !out[i].Accepted {
			missing = append(missing, sets[i].JobID)
		}
	}
	rows, _, err := s.currentStates(ctx, missing)
	if err != nil {
		return err
	}
	for i, set := range sets {
		row := rows[set.JobID]
		if out[i].Accepted || row == nil {
			continue
		}
		mine := row.SettledAttempt == set.Attempt && row.Attempt == set.Attempt && row.WorkerID == set.WorkerID
		same := row.State == set.State || row.State == job.Canceled
		out[i] = job.Settled{Accepted: mine && same, State: row.State, Delivery: row.Delivery, RunAt: row.RunAt}
	}
	return nil
}

// ReportProgress keeps what handlers said last. Reports of attempts that are no longer current are
// ignored.
func (s *Store) ReportProgress(ctx context.Context, reports []job.ProgressReport) error {
	for _, r := range reports {
		_, err := s.db.NewUpdate().Table("open_jobs").
			Set("progress_percent = ?", r.Percent).Set("progress_message = ?", job.CleanText(r.Message, job.MaxText)).
			Where("id = ?", r.JobID).Where("attempt = ?", r.Attempt).Where("state = ?", job.Active).Exec(ctx)
		if err != nil {
			return s.wrap("report progress", err)
		}
	}
	return nil
}
