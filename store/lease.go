package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/job"
)

type leaseRow struct {
	bun.BaseModel `bun:"table:leases,alias:l"`

	Name   string    `bun:"name,pk"`
	Holder job.ID    `bun:"holder"`
	Until  time.Time `bun:"until"`
}

// leaseSlack is by how much a lease may end later than one that begins now, for holders that ask
// for different times. One that ends later still was written before the database's clock stepped
// back: it has run out.
const leaseSlack = time.Minute

// Lease gives the named lease to holder for a while, or extends it, unless another holder has it.
// Times are the database's own.
func (s *Store) Lease(ctx context.Context, name string, holder job.ID, ttl time.Duration) (held bool, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return false, err
	}
	res, err := s.db.NewInsert().
		Model(&leaseRow{Name: name, Holder: holder, Until: now.Add(ttl)}).
		On("CONFLICT (name) DO UPDATE").
		Set("holder = EXCLUDED.holder").
		Set("until = EXCLUDED.until").
		Where("l.holder = EXCLUDED.holder OR l.until < ? OR l.until > ?", now, now.Add(ttl+leaseSlack)).
		Exec(ctx)
	if err != nil {
		return false, s.wrap("lease "+name, err)
	}
	n, err := res.RowsAffected()
	return n > 0, s.wrap("lease "+name, err)
}

// Release ends a lease, if holder still has it.
func (s *Store) Release(ctx context.Context, name string, holder job.ID) error {
	_, err := s.db.NewDelete().Model((*leaseRow)(nil)).Where("name = ?", name).Where("holder = ?", holder).Exec(ctx)
	return s.wrap("release "+name, err)
}
