package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`

	ID        job.ID    `bun:"id,pk"`
	UserID    job.ID    `bun:"user_id"`
	TokenHash []byte    `bun:"token_hash"`
	CreatedAt time.Time `bun:"created_at"`
	SeenAt    time.Time `bun:"seen_at"`
	ExpiresAt time.Time `bun:"expires_at"`
	IP        string    `bun:"ip"`
	UserAgent string    `bun:"user_agent"`
}

func (r *sessionRow) session() *account.Session {
	return &account.Session{
		ID:        r.ID,
		UserID:    r.UserID,
		TokenHash: r.TokenHash,
		CreatedAt: utc(r.CreatedAt),
		SeenAt:    utc(r.SeenAt),
		ExpiresAt: utc(r.ExpiresAt),
		IP:        r.IP,
		UserAgent: r.UserAgent,
	}
}

// CreateSession writes down a browser that signed in, for a user whose password hash is still the
// one given. Else it answers job.CodeConflict.
func (s *Store) CreateSession(ctx context.Context, b *account.Session, hash string, e account.AuditEntry) error {
	row := &sessionRow{ID: b.ID, UserID: b.UserID, TokenHash: b.TokenHash, CreatedAt: b.CreatedAt, SeenAt: b.SeenAt,
		ExpiresAt: b.ExpiresAt, IP: job.CleanText(b.IP, maxAuditIP),
		UserAgent: job.CleanText(b.UserAgent, maxAuditAgent)}
	return s.signIn(ctx, "insert session", b.UserID, hash, e, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
}

// Session answers the session under a token's hash, expired or not.
func (s *Store) Session(ctx context.Context, tokenHash []byte) (*account.Session, error) {
	row := new(sessionRow)
	if err := s.db.NewSelect().Model(row).Where("token_hash = ?", tokenHash).Scan(ctx); err != nil {
		return nil, s.found("session", err)
	}
	return row.session(), nil
}

// TouchSessions notes that the sessions were used at the time given. Times only move forward.
func (s *Store) TouchSessions(ctx context.Context, ids []job.ID, at time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.db.NewUpdate().
		Table("sessions").
		Set("seen_at = ?", at).
		Where("id IN (?)", bun.List(ids)).
		Where("seen_at < ?", at).
		Exec(ctx)
	return s.wrap("touch sessions", err)
}

// EndSession deletes the session under a token's hash and answers what it was. The audit entry is
// made of it and committed with it.
func (s *Store) EndSession(
	ctx context.Context,
	tokenHash []byte,
	entry func(*account.Session) account.AuditEntry,
) (*account.Session, error) {
	row := new(sessionRow)
	err := s.inTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewDelete().Model(row).Where("token_hash = ?", tokenHash).Returning("?Columns").Scan(ctx)
		if err != nil || entry == nil {
			return err
		}
		return recordEntry(ctx, tx, entry(row.session()))
	})
	if err != nil {
		return nil, s.found("session", err)
	}
	return row.session(), nil
}

// PurgeSessions deletes at most limit of those that had expired at the time given, or were last
// seen before idleSince, and answers how many.
func (s *Store) PurgeSessions(ctx context.Context, at, idleSince time.Time, limit int) (int, error) {
	old := s.db.NewSelect().
		Table("sessions").
		Column("id").
		Where("expires_at <= ? OR seen_at < ?", at, idleSince).
		Limit(int64(limit))
	return s.affected("purge sessions", func() (sql.Result, error) {
		return s.db.NewDelete().Table("sessions").Where("id IN (?)", old).Exec(ctx)
	})
}
