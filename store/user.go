package store

import (
	"context"
	"errors"
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
}

func (r *userRow) user() *account.User {
	return &account.User{ID: r.ID, Email: r.Email, Name: r.Name, Role: r.Role, PasswordHash: r.PasswordHash,
		CreatedAt: utc(r.CreatedAt), DisabledAt: utc(r.DisabledAt), ValidAfter: utc(r.ValidAfter)}
}

// utc gives times one zone, whichever the driver chose; the zero time stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// CreateUser writes an account whose e-mail is in lower case. It answers job.CodeConflict where the e-mail is taken.
func (s *Store) CreateUser(ctx context.Context, u *account.User) error {
	row := &userRow{ID: u.ID, Email: u.Email, Name: u.Name, Role: u.Role, PasswordHash: u.PasswordHash, CreatedAt: u.CreatedAt}
	res, err := s.db.NewInsert().Model(row).On("CONFLICT (email) DO NOTHING").Exec(ctx)
	if err != nil {
		return s.wrap("insert user", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return s.wrap("insert user", err)
	}
	return &job.Error{Code: job.CodeConflict, Message: "this e-mail address has an account already"}
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

// Users lists accounts, newest first: at most limit of those made before the id before (zero: from the newest on).
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

// SetPassword replaces the password hash and ends every refresh family and browser session, all or nothing. Access tokens
// issued before validAfter are refused from then on. The hash must still be oldHash: of two changes at once one answers
// job.CodeConflict.
func (s *Store) SetPassword(ctx context.Context, id job.ID, oldHash, newHash string, validAfter time.Time) error {
	return s.wrap("set password", s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Table("users").Set("password_hash = ?", newHash).Set("valid_after = ?", validAfter).
			Where("id = ?", id).Where("password_hash = ?", oldHash).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return &job.Error{Code: job.CodeConflict, Message: "the password was changed by somebody else meanwhile"}
		}
		return endSignIns(ctx, tx, id)
	}))
}

// Rehash replaces a password hash by one of the same password. Nothing happens where oldHash is not the hash any more.
func (s *Store) Rehash(ctx context.Context, id job.ID, oldHash, newHash string) error {
	_, err := s.db.NewUpdate().Table("users").Set("password_hash = ?", newHash).
		Where("id = ?", id).Where("password_hash = ?", oldHash).Exec(ctx)
	return s.wrap("rehash password", err)
}

// ChangeUser applies c and answers the account as it is then. Disabling ends every refresh family and browser session, and
// refuses access tokens issued before at. The last enabled administrator can be neither disabled nor demoted: job.CodeConflict.
func (s *Store) ChangeUser(ctx context.Context, id job.ID, c account.Change, at time.Time) (*account.User, error) {
	var changed *account.User
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		// The guard comes first: it makes changes wait for each other, and each sees what the one before it committed.
		if _, err := tx.NewRaw("UPDATE admin_guard SET id = 1").Exec(ctx); err != nil {
			return err
		}
		before, err := s.selectUser(ctx, tx, "id = ?", id)
		if err != nil {
			return err
		}
		after := apply(*before, c, at)
		if enabledAdmin(before) && !enabledAdmin(after) {
			if err := anotherAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		changed = after
		return updateUser(ctx, tx, before, after)
	})
	if err != nil {
		return nil, s.wrap("change user", err)
	}
	return changed, nil
}

func enabledAdmin(u *account.User) bool { return u.Role == account.RoleAdmin && u.DisabledAt.IsZero() }

func apply(u account.User, c account.Change, at time.Time) *account.User {
	if c.Name != nil {
		u.Name = *c.Name
	}
	if c.Role != nil {
		u.Role = *c.Role
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
	found, err := tx.NewSelect().Table("users").Where("role = 'admin' AND disabled_at IS NULL").Where("id <> ?", id).Exists(ctx)
	if err == nil && !found {
		err = &job.Error{Code: job.CodeConflict, Message: "the last enabled administrator can be neither disabled nor demoted"}
	}
	return err
}

// updateUser writes what differs and nothing else: a password may be changed at the same moment, past the guard.
func updateUser(ctx context.Context, tx bun.Tx, before, after *account.User) error {
	row := &userRow{ID: after.ID, Name: after.Name, Role: after.Role, DisabledAt: after.DisabledAt, ValidAfter: after.ValidAfter}
	columns := []string{"name", "role", "disabled_at"}
	disabling := before.DisabledAt.IsZero() && !after.DisabledAt.IsZero()
	if disabling {
		columns = append(columns, "valid_after")
	}
	_, err := tx.NewUpdate().Model(row).Column(columns...).WherePK().Exec(ctx)
	if err != nil || !disabling {
		return err
	}
	return endSignIns(ctx, tx, after.ID)
}

func endSignIns(ctx context.Context, tx bun.Tx, id job.ID) error {
	_, err1 := tx.NewDelete().Table("refresh_families").Where("user_id = ?", id).Exec(ctx)
	_, err2 := tx.NewDelete().Table("sessions").Where("user_id = ?", id).Exec(ctx)
	return errors.Join(err1, err2)
}
