package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type userRow struct {
	bun.BaseModel `bun:"table:users"`

	ID           job.ID       `bun:"id,pk"`
	Email        string       `bun:"email"`
	Name         string       `bun:"name"`
	Role         account.Role `bun:"role"`
	PasswordHash string       `bun:"password_hash"`
	CreatedAt    time.Time    `bun:"created_at"`
	DisabledAt   time.Time    `bun:"disabled_at,nullzero"`
	ValidAfter   time.Time    `bun:"valid_after,nullzero"`

	PasswordChangeRequired bool `bun:"password_change_required,nullzero"`
}

func (r *userRow) user() *account.User {
	return &account.User{ID: r.ID, Email: r.Email, Name: r.Name, Role: r.Role, PasswordHash: r.PasswordHash,
		CreatedAt: utc(r.CreatedAt), DisabledAt: utc(r.DisabledAt), ValidAfter: utc(r.ValidAfter),
		PasswordChangeRequired: r.PasswordChangeRequired}
}

// utc gives times one zone, whichever the driver chose; the zero time stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// CreateUser writes an account whose e-mail is in lower case. It answers job.CodeConflict where the
// e-mail is taken.
func (s *Store) CreateUser(ctx context.Context, r account.Request, u *account.User) error {
	row := &userRow{
		ID:                     u.ID,
		Email:                  u.Email,
		Name:                   u.Name,
		Role:                   u.Role,
		PasswordHash:           u.PasswordHash,
		CreatedAt:              u.CreatedAt,
		PasswordChangeRequired: u.PasswordChangeRequired,
	}
	return s.wrap("insert user", s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		users, err := s.lockUsers(ctx, tx, r.Actor.UserID)
		if err != nil {
			return err
		}
		if err := s.recheckActor(ctx, tx, r.Actor, users[r.Actor.UserID]); err != nil {
			return err
		}
		n, err := s.affected("insert user", func() (sql.Result, error) {
			return tx.NewInsert().Model(row).On("CONFLICT (email) DO NOTHING").Exec(ctx)
		})
		switch {
		case err != nil:
			return err
		case n == 0:
			return &job.Error{Code: job.CodeConflict, Message: "this e-mail address has an account already"}
		}
		return recordEntry(ctx, tx, r.Entry)
	}))
}

// User answers one account.
func (s *Store) User(ctx context.Context, id job.ID) (*account.User, error) {
	return s.selectUser(ctx, s.db, "id = ?", id)
}

// UserByEmail answers the account of an e-mail address in lower case.
func (s *Store) UserByEmail(ctx context.Context, email string) (*account.User, error) {
	return s.selectUser(ctx, s.db, "email = ?", email)
}

func (s *Store) selectUser(ctx context.Context, db bun.IDB, where string, arg any) (*account.User, error) {
	row := new(userRow)
	if err := db.NewSelect().Model(row).Where(where, arg).Scan(ctx); err != nil {
		return nil, s.found("user", err)
	}
	return row.user(), nil
}

// Users lists accounts, newest first: at most limit of those made before the id before (zero: from
// the newest on).
func (s *Store) Users(ctx context.Context, before job.ID, limit int) ([]*account.User, error) {
	var rows []userRow
	q := s.db.NewSelect().Model(&rows).Order("id DESC").Limit(int64(limit))
	if !before.IsZero() {
		q.Where("id < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select users", err)
	}
	users := make([]*account.User, len(rows))
	for i := range rows {
		users[i] = rows[i].user()
	}
	return users, nil
}

// SetPassword replaces the password hash of an enabled user and ends every sign-in, all or nothing.
// The hash must still be c.OldHash where that is given: of two changes at once one answers
// job.CodeConflict.
func (s *Store) SetPassword(
	ctx context.Context,
	r account.Request,
	c account.PasswordChange,
) (ended account.Ended, err error) {
	err = s.changeAccounts(
		ctx,
		"set password",
		r,
		c.UserID,
		func(ctx context.Context, tx bun.Tx, u *account.User) (err error) {
			if c.OldHash != "" && c.OldHash != u.PasswordHash {
				return &job.Error{
					Code:    job.CodeConflict,
					Message: "the password was changed by another request meanwhile",
				}
			}
			ended, err = writePassword(ctx, tx, c, false)
			return err
		},
	)
	return ended, err
}

// writePassword is for a user whose row is locked: no sign-in can be made with the old password
// meanwhile, so none is left.
func writePassword(ctx context.Context, tx bun.Tx, c account.PasswordChange, required bool) (account.Ended, error) {
	_, err := tx.NewUpdate().Table("users").Set("password_hash = ?", c.NewHash).Set("valid_after = ?", c.ValidAfter).
		Set("password_change_required = ?", bun.NullZero(required)).Where("id = ?", c.UserID).Exec(ctx)
	if err != nil {
		return account.Ended{}, err
	}
	return endAccess(ctx, tx, c.UserID)
}

// endAccess ends every sign-in of a user, and the way back that an e-mail may have opened.
func endAccess(ctx context.Context, tx bun.Tx, userID job.ID) (account.Ended, error) {
	if _, err := tx.NewDelete().Table("password_resets").Where("user_id = ?", userID).Exec(ctx); err != nil {
		return account.Ended{}, err
	}
	return endSignIns(ctx, tx, userID, job.ID{})
}

// Rehash replaces a password hash by one of the same password. Nothing happens where oldHash is not
// the hash any more.
func (s *Store) Rehash(ctx context.Context, id job.ID, oldHash, newHash string) error {
	_, err := s.db.NewUpdate().Table("users").Set("password_hash = ?", newHash).
		Where("id = ?", id).Where("password_hash = ?", oldHash).Exec(ctx)
	return s.wrap("rehash password", err)
}

// ChangeUser applies c, whose Password is a hash, and answers the account as it is then. Disabling,
// and another password, end every sign-in; those made before at are refused. The last enabled
// administrator can be neither disabled nor demoted: job.CodeConflict.
func (s *Store) ChangeUser(
	ctx context.Context,
	r account.Request,
	id job.ID,
	c account.Change,
	at time.Time,
) (*account.User, account.Ended, error) {
	var changed *account.User
	var ended account.Ended
	err := s.wrap("change user", s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The guard comes first: it makes changes wait for each other, and each sees what the one
		// before it committed.
		if _, err := tx.NewRaw("UPDATE admin_guard SET id = 1").Exec(ctx); err != nil {
			return err
		}
		users, err := s.lockUsers(ctx, tx, id, r.Actor.UserID)
		if err != nil {
			return err
		}
		if err := s.recheckActor(ctx, tx, r.Actor, users[r.Actor.UserID]); err != nil {
			return err
		}
		before := users[id]
		if before == nil {
			return job.NotFound("user")
		}
		changed = apply(*before, c, at)
		if enabledAdmin(before) && !enabledAdmin(changed) {
			if err := anotherAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		if ended, err = updateUser(ctx, tx, before, changed); err != nil {
			return err
		}
		return recordEntry(ctx, tx, r.Entry)
	}))
	if err != nil {
		return nil, account.Ended{}, err
	}
	return changed, ended, nil
}

func enabledAdmin(u *account.User) bool { return u.Role == account.RoleAdmin && u.DisabledAt.IsZero() }

func apply(u account.User, c account.Change, at time.Time) *account.User {
	if c.Name != nil {
		u.Name = *c.Name
	}
	if c.Role != nil {
		u.Role = *c.Role
	}
	if c.Password != nil {
		u.PasswordHash, u.PasswordChangeRequired, u.ValidAfter = *c.Password, c.RequireChange, at
	}
	switch {
	case c.Disabled == nil:
	case !*c.Disabled:
		u.DisabledAt = time.Time{}
	case u.DisabledAt.IsZero():
		u.DisabledAt, u.ValidAfter = at, at
	}
	return &u
}

func anotherAdmin(ctx context.Context, tx bun.Tx, id job.ID) error {
	found, err := tx.NewSelect().
		Table("users").
		Where("role = 'admin' AND disabled_at IS NULL").
		Where("id <> ?", id).
		Exists(ctx)
	if err == nil && !found {
		err = &job.Error{
			Code:    job.CodeConflict,
			Message: "the last enabled administrator can be neither disabled nor demoted",
		}
	}
	return err
}

// updateUser writes a user whose row is locked, and ends the sign-ins where that is part of the
// change.
func updateUser(ctx context.Context, tx bun.Tx, before, after *account.User) (account.Ended, error) {
	row := &userRow{
		ID:                     after.ID,
		Name:                   after.Name,
		Role:                   after.Role,
		PasswordHash:           after.PasswordHash,
		DisabledAt:             after.DisabledAt,
		ValidAfter:             after.ValidAfter,
		PasswordChangeRequired: after.PasswordChangeRequired,
	}
	_, err := tx.NewUpdate().Model(row).
		Column("name", "role", "password_hash", "disabled_at", "valid_after", "password_change_required").
		WherePK().Exec(ctx)
	if err != nil || after.ValidAfter.Equal(before.ValidAfter) {
		return account.Ended{}, err
	}
	return endAccess(ctx, tx, after.ID)
}
