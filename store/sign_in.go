package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// SignIns lists a user's open sign-ins of both kinds, newest first.
func (s *Store) SignIns(ctx context.Context, f account.SignInFilter) ([]*account.SignIn, error) {
	families, err := s.families(ctx, f)
	if err != nil {
		return nil, s.wrap("select refresh families", err)
	}
	browsers, err := s.sessions(ctx, f)
	if err != nil {
		return nil, s.wrap("select sessions", err)
	}
	all := append(families, browsers...)
	slices.SortFunc(all, func(a, b *account.SignIn) int { return -slices.Compare(a.ID[:], b.ID[:]) })
	return all[:min(len(all), f.Limit)], nil
}

func (s *Store) families(ctx context.Context, f account.SignInFilter) (list []*account.SignIn, err error) {
	var rows []familyRow
	q := s.db.NewSelect().Model(&rows).Where("user_id = ?", f.UserID).Where("expires_at > ?", f.At).
		Where("created_at > ?", f.CreatedAfter).OrderExpr("id DESC").Limit(int64(f.Limit))
	if !f.Before.IsZero() {
		q.Where("id < ?", f.Before)
	}
	err = q.Scan(ctx)
	for _, r := range rows {
		used := cmp.Or(utc(r.LastUsedAt), utc(r.CreatedAt))
		list = append(
			list,
			&account.SignIn{ID: r.ID, Kind: account.SignInToken, CreatedAt: utc(r.CreatedAt), LastUsedAt: used,
				ExpiresAt: utc(r.ExpiresAt), IP: r.IP, UserAgent: r.UserAgent},
		)
	}
	return list, err
}

func (s *Store) sessions(ctx context.Context, f account.SignInFilter) (list []*account.SignIn, err error) {
	var rows []sessionRow
	q := s.db.NewSelect().Model(&rows).Where("user_id = ?", f.UserID).Where("expires_at > ?", f.At).
		Where("seen_at > ?", f.SeenAfter).OrderExpr("id DESC").Limit(int64(f.Limit))
	if !f.Before.IsZero() {
		q.Where("id < ?", f.Before)
	}
	err = q.Scan(ctx)
	for _, r := range rows {
		list = append(list, &account.SignIn{ID: r.ID, Kind: account.SignInBrowser, CreatedAt: utc(r.CreatedAt),
			LastUsedAt: utc(r.SeenAt), ExpiresAt: utc(r.ExpiresAt), IP: r.IP, UserAgent: r.UserAgent})
	}
	return list, err
}

// EndSignIn ends one of a user's sign-ins. A sign-in of another user is not found.
func (s *Store) EndSignIn(ctx context.Context, r account.Request, userID, id job.ID) (ended account.Ended, err error) {
	err = s.changeAccounts(ctx, "end sign-in", r, userID, func(ctx context.Context, tx bun.Tx, _ *account.User) error {
		ended = account.Ended{} // the transaction may be tried again
		err := tx.NewDelete().Table("refresh_families").Where("id = ?", id).Where("user_id = ?", userID).
			Returning("id").Scan(ctx, &ended.Families)
		if ignoreNoRows(err) != nil || len(ended.Families) > 0 {
			return ignoreNoRows(err)
		}
		err = tx.NewDelete().Table("sessions").Where("id = ?", id).Where("user_id = ?", userID).
			Returning("token_hash").Scan(ctx, &ended.Sessions)
		if ignoreNoRows(err) == nil && len(ended.Sessions) == 0 {
			return job.NotFound("sign-in")
		}
		return ignoreNoRows(err)
	})
	return ended, err
}

// EndSignIns ends all sign-ins of a user but the one with the id except (zero: all).
func (s *Store) EndSignIns(
	ctx context.Context,
	r account.Request,
	userID, except job.ID,
) (ended account.Ended, err error) {
	err = s.changeAccounts(
		ctx,
		"end sign-ins",
		r,
		userID,
		func(ctx context.Context, tx bun.Tx, _ *account.User) (err error) {
			ended, err = endSignIns(ctx, tx, userID, except)
			return err
		},
	)
	return ended, err
}

// signIn runs insert for a user whose password hash is still the one that was compared, and who is
// enabled: a password that was changed while it was compared opens nothing. Else it answers
// job.CodeConflict: compare again.
func (s *Store) signIn(ctx context.Context, doing string, userID job.ID, hash string, e account.AuditEntry,
	insert func(ctx context.Context, tx bun.Tx) error) error {
	return s.changeAccounts(
		ctx,
		doing,
		account.Request{Entry: e},
		userID,
		func(ctx context.Context, tx bun.Tx, u *account.User) error {
			if u.PasswordHash != hash || !u.DisabledAt.IsZero() {
				return &job.Error{Code: job.CodeConflict, Message: "the account was changed meanwhile"}
			}
			return insert(ctx, tx)
		},
	)
}

func ignoreNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
