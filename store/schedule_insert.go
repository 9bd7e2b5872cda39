package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

// insertWithin goes past bun's formatting, like the other hot writes; the driver takes slices as arrays here too.
func (p *postgres) insertWithin(ctx context.Context, tx bun.Tx, subs []job.Submission) (at time.Time, err error) {
	args, _ := insertArgs(subs)
	err = tx.Tx.QueryRowContext(ctx, insertPlain, args...).Scan(&at)
	return at, err
}
