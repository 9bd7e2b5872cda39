package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type familyRow struct {
	bun.BaseModel `bun:"table:refresh_families"`

	ID        job.ID    `bun:"id,pk"`
	UserID    job.ID    `bun:"user_id"`
	KeyHash   []byte    `bun:"key_hash"`
	TokenHash []byte    `bun:"token_hash"`
	CreatedAt time.Time `bun:"created_at"`
	ExpiresAt time.Time `bun:"expires_at"`

	LastUsedAt time.Time `bun:"last_used_at,nullzero"`
	IP         string    `bun:"ip,nullzero"`
	UserAgent  string    `bun:"user_agent,nullzero"`
}

func (r *familyRow) family() *account.Family {
	return &account.Family{ID: r.ID, UserID: r.UserID, KeyHash: r.KeyHash, TokenHash: r.TokenHash,
		CreatedAt: utc(
			r.CreatedAt,
		), ExpiresAt: utc(r.ExpiresAt), LastUsedAt: utc(r.LastUsedAt), IP: r.IP, UserAgent: r.UserAgent}
}

// CreateFamily writes down a sign-in with its first refresh token, for a user whose password hash
// is still the one given. Else it answers job.CodeConflict.
func (s *Store) CreateFamily(ctx context.Context, f *account.Family, hash string, e account.AuditEntry) error {
	row := &familyRow{
		ID:        f.ID,
		UserID:    f.UserID,
		KeyHash:   f.KeyHash,
		TokenHash: f.TokenHash,
		CreatedAt: f.CreatedAt,
		ExpiresAt: f.ExpiresAt,
		IP:        job.CleanText(f.IP, maxAuditIP),
		UserAgent: job.CleanText(f.UserAgent, maxAuditAgent),
	}
	return s.signIn(ctx, "insert refresh family", f.UserID, hash, e, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
}

// Family reads one family of any owner, expired or not.
func (s *Store) Family(ctx context.Context, id job.ID) (*account.Family, error) {
	row := new(familyRow)
	if err := s.db.NewSelect().Model(row).Where("id = ?", id).Scan(ctx); err != nil {
		return nil, s.found("sign-in", err)
	}
	return row.family(), nil
}

// Rotate replaces the good refresh token of a family in one conditional update, so of several
// callers with the same token one at most succeeds. A token that was good once and is not any more
// has been stolen or copied: the family is revoked, and the answer has no user. Where no family
// lives under the key, it is job.CodeNotFound.
func (s *Store) Rotate(ctx context.Context, r account.Rotation) (account.Rotated, error) {
	done, err := s.rotate(ctx, r)
	if !errors.Is(err, sql.ErrNoRows) {
		return done, s.wrap("rotate refresh token", err)
	}
	// A token never becomes good again, so what was not good a moment ago is not good here.
	f, err := s.EndFamily(ctx, r.KeyHash, nil)
	if err == nil && (!f.ExpiresAt.After(r.At) || !f.CreatedAt.After(r.CreatedAfter)) { // it had run out by itself
		err = job.NotFound("refresh token")
	}
	return account.Rotated{Family: f}, err
}

// rotate reads the user in the same transaction: if that fails, the old token is still good and the
// client may try again.
func (s *Store) rotate(ctx context.Context, r account.Rotation) (done account.Rotated, err error) {
	err = s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := new(familyRow)
		err := tx.NewUpdate().Model(row).Set("token_hash = ?", r.NewHash).Set("expires_at = ?", r.ExpiresAt).
			Set("last_used_at = ?", r.At).Set("ip = ?", job.CleanText(r.IP, maxAuditIP)).
			Set("user_agent = ?", job.CleanText(r.UserAgent, maxAuditAgent)).
			Where("key_hash = ?", r.KeyHash).Where("token_hash = ?", r.OldHash).Where("expires_at > ?", r.At).
			Where("created_at > ?", r.CreatedAfter).Returning("?Columns").Scan(ctx)
		if err != nil {
			return err
		}
		done.Family = row.family()
		done.User, err = s.selectUser(ctx, tx, "id = ?", row.UserID)
		return err
	})
	return done, err
}

// EndFamily revokes the family under the key and answers what it was. The audit entry, if there is
// to be one, is made of it and committed with it.
func (s *Store) EndFamily(
	ctx context.Context,
	keyHash []byte,
	entry func(*account.Family) account.AuditEntry,
) (*account.Family, error) {
	row := new(familyRow)
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewDelete().Model(row).Where("key_hash = ?", keyHash).Returning("?Columns").Scan(ctx)
		if err != nil || entry == nil {
			return err
		}
		return recordEntry(ctx, tx, entry(row.family()))
	})
	if err != nil {
		return nil, s.found("refresh token", err)
	}
	return row.family(), nil
}

// PurgeFamilies deletes at most limit of those that had expired at the time given or were made
// before createdBefore, by their ids, and answers how many.
func (s *Store) PurgeFamilies(ctx context.Context, at, createdBefore time.Time, limit int) (int, error) {
	old := s.db.NewSelect().Table("refresh_families").Column("id").
		Where("expires_at <= ? OR id < ?", at, job.FirstIDAt(createdBefore)).Limit(int64(limit))
	return s.affected("purge refresh families", func() (sql.Result, error) {
		return s.db.NewDelete().Table("refresh_families").Where("id IN (?)", old).Exec(ctx)
	})
}

// affected runs a statement and answers how many rows it changed.
func (s *Store) affected(doing string, exec func() (sql.Result, error)) (int, error) {
	res, err := exec()
	if err != nil {
		return 0, s.wrap(doing, err)
	}
	n, err := res.RowsAffected()
	return int(n), s.wrap(doing, err)
}
