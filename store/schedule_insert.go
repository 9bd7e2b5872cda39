package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// insertWithin goes past bun's formatting, like the other hot writes; the driver takes slices as arrays here too.
func (p *postgres) insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) ([]inserted, error) {
	args, _ := insertArgs(subs)
	rows, err := tx.Tx.QueryContext(ctx, insertPlain, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var done []inserted
	for rows.Next() {
		var r inserted
		if err := rows.Scan(&r.ID, &r.State, &r.RunAt, &r.CreatedAt); err != nil {
			return nil, err
		}
		done = append(done, r)
	}
	return done, rows.Err()
}

func (l *lite) insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) ([]inserted, error) {
	now := liteNow()
	done := make([]inserted, len(subs))
	for i := range subs {
		row := newRow(&subs[i], now)
		if _, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx); err != nil {
			return nil, err
		}
		if err := insertLabels(ctx, tx, row, subs[i].Labels); err != nil {
			return nil, err
		}
		done[i] = inserted{ID: row.ID, State: row.State, RunAt: row.RunAt, CreatedAt: row.CreatedAt}
	}
	return done, nil
}
