package auth

import (
	"fmt"
	"testing"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestNobodyFillsTheAuditLogWithFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 3 * entriesOfOne.Burst {
		_, _ = b.Login(from(t, "192.0.2.1"), fmt.Sprintf("u%d@example.com", i), "wrong horse")
	}
	if n := len(b.audit()); n != entriesOfOne.Burst {
		t.Errorf("%d entries", n)
	}
	b.clock.pass(entriesOfOne.Every)
	_, _ = b.Login(from(t, "192.0.2.1"), "u@example.com", "wrong horse")
	if e := b.audit()[0]; e.Action != SignInFailed || e.Detail["not_recorded"] == "" {
		t.Errorf("the last entry is %+v", e)
	}
	actor := job.NewID()
	for range 2 * entriesOfAll.Burst { // however many actors
		b.RecordRefused(t.Context(), account.AuditEntry{ActorID: actor})
		b.RecordRefused(t.Context(), account.AuditEntry{ActorID: job.NewID()})
	}
	total := 0
	for before := (job.ID{}); ; {
		page, err := b.AuditEntries(
			t.Context(),
			account.AuditFilter{Action: RequestRefused, Limit: 200, Before: before},
		)
		must(t, err)
		if total += len(page); len(page) < 200 {
			break
		}
		before = page[len(page)-1].ID
	}
	if total != entriesOfAll.Burst {
		t.Errorf("%d refusals were written down, want %d", total, entriesOfAll.Burst)
	}
}

func TestOldAuditEntriesArePurged(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		b.cfg.AuditRetention = AccessTTL
		entry := by(nil, SignInFailed, "old", nil)
		entry.At = b.clock.now().Add(-2 * AccessTTL)
		entry.ID = job.FirstIDAt(entry.At)
		b.Record(t.Context(), entry)
		b.Record(t.Context(), by(nil, SignInFailed, "new", nil))
		must(t, b.purge(t.Context()))
		if left := b.audit(); len(left) != 1 || left[0].Target != "new" {
			t.Errorf("left are %+v", left)
		}
	})
}
