package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type resetRow struct {
	bun.BaseModel `bun:"table:password_resets"`

	UserID    job.ID    `bun:"user_id,pk"`
	TokenHash []byte    `bun:"token_hash"`
	CreatedAt time.Time `bun:"created_at"`
	ExpiresAt time.Time `bun:"expires_at"`
}

// CreateReset writes a way back to an account down, in place of the one before it.
func (s *Store) CreateReset(ctx context.Context, r account.Request, p account.PasswordReset) error {
	return s.changeAccounts(
		ctx,
		"insert password reset",
		r,
		p.UserID,
		func(ctx context.Context, tx bun.Tx, u *account.User) error {
			if !u.DisabledAt.IsZero() {
				return job.NotFound("user")
			}
			row := &resetRow{UserID: p.UserID, TokenHash: p.TokenHash, CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt}
			_, err := tx.NewInsert().
				Model(row).
				On("CONFLICT (user_id) DO UPDATE").
				Set("token_hash = EXCLUDED.token_hash").
				Set("created_at = EXCLUDED.created_at").
				Set("expires_at = EXCLUDED.expires_at").
				Exec(ctx)
			return err
		},
	)
}

// ResetUser answers whose password the token may replace at the time given.
func (s *Store) ResetUser(ctx context.Context, tokenHash []byte, at time.Time) (*account.User, error) {
	id := s.db.NewSelect().
		Table("password_resets").
		Column("user_id").
		Where("token_hash = ?", tokenHash).
		Where("expires_at > ?", at)
	return s.selectUser(ctx, s.db, "id = (?)", id)
}

// ResetPassword spends the token and replaces the password of its user. Of two callers with one
// token one at most succeeds; the other answers job.CodeNotFound, as for a token that is wrong or
// has expired at the time given.
func (s *Store) ResetPassword(
	ctx context.Context,
	r account.Request,
	tokenHash []byte,
	at time.Time,
	c account.PasswordChange,
) (ended account.Ended, err error) {
	err = s.changeAccounts(
		ctx,
		"reset password",
		r,
		c.UserID,
		func(ctx context.Context, tx bun.Tx, u *account.User) error {
			n, err := s.affected("spend password reset", func() (sql.Result, error) {
				return tx.NewDelete().
					Table("password_resets").
					Where("user_id = ?", c.UserID).
					Where("token_hash = ?", tokenHash).
					Where("expires_at > ?", at).
					Exec(ctx)
			})
			if err != nil || n == 0 || !u.DisabledAt.IsZero() {
				return orNotFound(err, "password reset")
			}
			ended, err = writePassword(ctx, tx, c, false)
			return err
		},
	)
	return ended, err
}

// PurgeResets deletes at most limit of those that had expired at the time given, and answers how
// many.
func (s *Store) PurgeResets(ctx context.Context, at time.Time, limit int) (int, error) {
	old := s.db.NewSelect().
		Table("password_resets").
		Column("user_id").
		Where("expires_at <= ?", at).
		Order("expires_at").
		Limit(int64(limit))
	return s.affected("purge password resets", func() (sql.Result, error) {
		return s.db.NewDelete().Table("password_resets").Where("user_id IN (?)", old).Exec(ctx)
	})
}
