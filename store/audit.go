package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type auditRow struct {
	bun.BaseModel `bun:"table:audit_log"`

	ID        job.ID            `bun:"id,pk"`
	At        time.Time         `bun:"at"`
	ActorID   job.ID            `bun:"actor_id"`
	Actor     string            `bun:"actor"`
	KeyID     job.ID            `bun:"key_id"`
	Action    string            `bun:"action"`
	Target    string            `bun:"target"`
	IP        string            `bun:"ip"`
	UserAgent string            `bun:"user_agent"`
	RequestID string            `bun:"request_id"`
	Detail    map[string]string `bun:"detail,nullzero"`
}

func (r *auditRow) entry() *account.AuditEntry {
	return &account.AuditEntry{
		ID:        r.ID,
		At:        utc(r.At),
		ActorID:   r.ActorID,
		Actor:     r.Actor,
		KeyID:     r.KeyID,
		Action:    r.Action,
		Target:    r.Target,
		IP:        r.IP,
		UserAgent: r.UserAgent,
		RequestID: r.RequestID,
		Detail:    r.Detail,
	}
}

// auditSlack is how far an entry's id may be from its time: the two are made one after the other,
// and by different clocks where the entry was made by the ledger.
const auditSlack = 10 * time.Minute

// Lengths in bytes that the columns of audit_log hold for sure.
const (
	maxAuditActor  = 254
	maxAuditTarget = 512
	maxAuditIP     = 64
	maxAuditAgent  = 512
	maxAuditDetail = 1024
)

// Record writes one entry of the audit log. Texts from outside are cleaned and cut rather than
// refused: a action with an odd user agent must not go unrecorded.
func (s *Store) Record(ctx context.Context, e account.AuditEntry) error {
	return s.wrap("insert audit entry", recordEntry(ctx, s.db, e))
}

// recordEntry is Record within the transaction of the action. An entry without an action is none.
func recordEntry(ctx context.Context, db bun.IDB, e account.AuditEntry) error {
	if e.Action == "" {
		return nil
	}
	_, err := db.NewInsert().Model(newAuditRow(e)).Exec(ctx)
	return err
}

func newAuditRow(e account.AuditEntry) *auditRow {
	row := &auditRow{
		ID:        e.ID,
		At:        e.At,
		ActorID:   e.ActorID,
		Actor:     job.CleanText(e.Actor, maxAuditActor),
		KeyID:     e.KeyID,
		Action:    e.Action,
		Target:    job.CleanText(e.Target, maxAuditTarget),
		IP:        job.CleanText(e.IP, maxAuditIP),
		UserAgent: job.CleanText(e.UserAgent, maxAuditAgent),
		RequestID: job.CleanText(e.RequestID, maxAuditIP),
	}
	for name, value := range e.Detail {
		if row.Detail == nil {
			row.Detail = make(map[string]string, len(e.Detail))
		}
		row.Detail[job.CleanText(name, maxAuditIP)] = job.CleanText(value, maxAuditDetail)
	}
	return row
}

// AuditEntries lists what f lets through, newest first.
func (s *Store) AuditEntries(ctx context.Context, f account.AuditFilter) ([]*account.AuditEntry, error) {
	var rows []auditRow
	q := s.db.NewSelect().Model(&rows).Order("id DESC").Limit(int64(f.Limit))
	if !f.ActorID.IsZero() {
		q.Where("actor_id = ?", f.ActorID)
	}
	if f.Actor != "" {
		q.Where("actor = ?", f.Actor)
	}
	if f.Action != "" {
		q.Where("action = ?", f.Action)
	}
	if f.Target != "" {
		q.Where("target = ?", f.Target)
	}
	if f.IP != "" {
		q.Where("ip = ?", f.IP)
	}
	if !f.Until.IsZero() {
		q.Where("id < ?", job.FirstIDAt(f.Until.Add(auditSlack))).Where("at < ?", f.Until)
	}
	if !f.Since.IsZero() {
		q.Where("id >= ?", job.FirstIDAt(f.Since.Add(-auditSlack))).Where("at >= ?", f.Since)
	}
	if !f.Before.IsZero() {
		q.Where("id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, s.wrap("select audit entries", err)
	}
	entries := make([]*account.AuditEntry, len(rows))
	for i := range rows {
		entries[i] = rows[i].entry()
	}
	return entries, nil
}

// PurgeAudit deletes at most limit entries from before the given time, and answers how many. It
// walks the ids, which rise with time.
func (s *Store) PurgeAudit(ctx context.Context, before time.Time, limit int) (int, error) {
	old := s.db.NewSelect().
		Table("audit_log").
		Column("id").
		Where("id < ?", job.FirstIDAt(before)).
		Where("at < ?", before).
		OrderExpr("id").
		Limit(int64(limit))
	return s.affected("purge audit entries", func() (sql.Result, error) {
		return s.db.NewDelete().Table("audit_log").Where("id IN (?)", old).Exec(ctx)
	})
}
