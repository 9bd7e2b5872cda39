package store

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// changeAccounts changes an account in one transaction: it locks the rows of the user and of who
// asks, looks up again whether he may, applies change to the user as he stands, and writes the
// audit entry. What a caller read before, however long ago, decides nothing here. A change that
// fails leaves no entry.
func (s *Store) changeAccounts(ctx context.Context, doing string, r account.Request, userID job.ID,
	change func(ctx context.Context, tx bun.Tx, u *account.User) error) error {
	return s.wrap(doing, s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		users, err := s.lockUsers(ctx, tx, userID, r.Actor.UserID)
		if err != nil {
			return err
		}
		if err := s.recheckActor(ctx, tx, r.Actor, users[r.Actor.UserID]); err != nil {
			return err
		}
		u := users[userID]
		if u == nil {
			return job.NotFound("user")
		}
		if err := change(ctx, tx, u); err != nil {
			return err
		}
		return recordEntry(ctx, tx, r.Entry)
	}))
}

// lockUsers reads the users with these ids (zero: none) and keeps others from changing them until
// the transaction ends. It locks in the order of the ids, so that two administrators who change
// each other do not wait in a circle.
func (s *Store) lockUsers(ctx context.Context, tx bun.Tx, ids ...job.ID) (map[job.ID]*account.User, error) {
	ids = slices.DeleteFunc(ids, job.ID.IsZero)
	users := make(map[job.ID]*account.User, len(ids))
	if len(ids) == 0 {
		return users, nil
	}
	var rows []userRow
	q := tx.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).OrderExpr("id")
	if s.engine.forUpdate() != "" {
		q = q.For("NO KEY UPDATE") // rows that only refer to the user may be written meanwhile
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	for i := range rows {
		users[rows[i].ID] = rows[i].user()
	}
	return users, nil
}

// recheckActor reports whether the actor, whose row is locked, is still enabled, signed in, and of
// the role that he needs.
func (s *Store) recheckActor(ctx context.Context, tx bun.Tx, a account.Actor, u *account.User) error {
	switch {
	case a.UserID.IsZero():
		return nil
	case u == nil || !u.DisabledAt.IsZero():
		return signedOut()
	case a.Role != "" && !u.Role.Includes(a.Role):
		return &job.Error{Code: job.CodeForbidden, Message: "this needs the role " + string(a.Role)}
	case a.SignInID.IsZero():
		return nil
	}
	for _, table := range []string{"refresh_families", "sessions"} {
		open, err := tx.NewSelect().Table(table).Where("id = ?", a.SignInID).Where("user_id = ?", a.UserID).Exists(ctx)
		if err != nil || open {
			return err
		}
	}
	return signedOut()
}

func signedOut() error {
	return &job.Error{Code: job.CodeUnauthenticated, Message: "the sign-in has ended meanwhile: sign in again"}
}

// endSignIns deletes a user's refresh families and browser sessions, all but the one with the id
// except (zero: all).
func endSignIns(ctx context.Context, tx bun.Tx, userID, except job.ID) (ended account.Ended, err error) {
	err = tx.NewDelete().Table("refresh_families").Where("user_id = ?", userID).Where("id <> ?", except.String()).
		Returning("id").Scan(ctx, &ended.Families)
	if ignoreNoRows(err) != nil {
		return ended, err
	}
	err = tx.NewDelete().Table("sessions").Where("user_id = ?", userID).Where("id <> ?", except.String()).
		Returning("token_hash").Scan(ctx, &ended.Sessions)
	return ended, ignoreNoRows(err)
}
