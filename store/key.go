package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type keyRow struct {
	bun.BaseModel `bun:"table:api_keys"`

	ID         job.ID    `bun:"id,pk"`
	UserID     job.ID    `bun:"user_id"`
	Name       string    `bun:"name"`
	Scopes     string    `bun:"scopes"`
	SecretHash []byte    `bun:"secret_hash"`
	CreatedAt  time.Time `bun:"created_at"`
	ExpiresAt  time.Time `bun:"expires_at,nullzero"`
	LastUsedAt time.Time `bun:"last_used_at,nullzero"`
}

func (r *keyRow) key() *account.Key {
	k := &account.Key{ID: r.ID, UserID: r.UserID, Name: r.Name, SecretHash: r.SecretHash,
		CreatedAt: utc(r.CreatedAt), ExpiresAt: utc(r.ExpiresAt), LastUsedAt: utc(r.LastUsedAt)}
	for _, scope := range strings.Fields(r.Scopes) {
		k.Scopes = append(k.Scopes, account.Scope(scope))
	}
	return k
}

func joinScopes(scopes []account.Scope) string {
	words := make([]string, len(scopes))
	for i, scope := range scopes {
		words[i] = string(scope)
	}
	return strings.Join(words, " ")
}

// CreateKey writes an API key, unless its user has limit of them: job.CodeConflict. The user's row
// is locked: two keys at once would each see room for one more.
func (s *Store) CreateKey(ctx context.Context, r account.Request, k *account.Key, limit int) error {
	row := &keyRow{ID: k.ID, UserID: k.UserID, Name: k.Name, Scopes: joinScopes(k.Scopes), SecretHash: k.SecretHash,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
	return s.changeAccounts(
		ctx,
		"insert API key",
		r,
		k.UserID,
		func(ctx context.Context, tx bun.Tx, u *account.User) error {
			if !u.DisabledAt.IsZero() {
				return signedOut()
			}
			var ids []job.ID
			if err := tx.NewSelect().Table("api_keys").Column("id").Where("user_id = ?",
				k.UserID).Limit(int64(limit)).Scan(ctx, &ids); err != nil {
				return err
			}
			if len(ids) >= limit {
				return &job.Error{
					Code:    job.CodeConflict,
					Message: fmt.Sprintf("an account has at most %d API keys: delete one first", limit),
				}
			}
			_, err := tx.NewInsert().Model(row).Exec(ctx)
			return err
		},
	)
}

func orNotFound(err error, what string) error {
	if err != nil {
		return err
	}
	return job.NotFound(what)
}

// Key reads one API key of any owner.
func (s *Store) Key(ctx context.Context, id job.ID) (*account.Key, error) {
	row := new(keyRow)
	if err := s.db.NewSelect().Model(row).Where("id = ?", id).Scan(ctx); err != nil {
		return nil, s.found("API key", err)
	}
	return row.key(), nil
}

// Keys lists a user's API keys, newest first: at most limit of those made before the id before
// (zero: from the newest on).
func (s *Store) Keys(ctx context.Context, userID, before job.ID, limit int) ([]*account.Key, error) {
	var rows []keyRow
	q := s.db.NewSelect().Model(&rows).Where("user_id = ?", userID).Order("id DESC").Limit(int64(limit))
	if !before.IsZero() {
		q.Where("id < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select API keys", err)
	}
	keys := make([]*account.Key, len(rows))
	for i := range rows {
		keys[i] = rows[i].key()
	}
	return keys, nil
}

// DeleteKey revokes a user's API key for good. A key of another user is not found.
func (s *Store) DeleteKey(ctx context.Context, r account.Request, userID, id job.ID) error {
	return s.changeAccounts(
		ctx,
		"delete API key",
		r,
		userID,
		func(ctx context.Context, tx bun.Tx, _ *account.User) error {
			n, err := s.affected("delete API key", func() (sql.Result, error) {
				return tx.NewDelete().Table("api_keys").Where("id = ?", id).Where("user_id = ?", userID).Exec(ctx)
			})
			if err == nil && n == 0 {
				return job.NotFound("API key")
			}
			return err
		},
	)
}

// TouchKeys notes that the keys were used at the time given. Times only move forward; keys that are
// gone are passed over.
func (s *Store) TouchKeys(ctx context.Context, ids []job.ID, at time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.db.NewUpdate().Table("api_keys").Set("last_used_at = ?", at).Where("id IN (?)", bun.List(ids)).
		Where("last_used_at IS NULL OR last_used_at < ?", at).Exec(ctx)
	return s.wrap("touch API keys", err)
}
