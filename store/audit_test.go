package store

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func entry(change func(*account.AuditEntry)) account.AuditEntry {
	e := account.AuditEntry{
		ID:        job.NewID(),
		At:        microsecond(),
		ActorID:   job.NewID(),
		Actor:     "ann@example.com",
		Action:    "job.cancel",
		Target:    "x",
		IP:        "127.0.0.1",
		UserAgent: "curl",
		RequestID: "r",
		Detail:    map[string]string{"why": `a "quoted" 'word' \ and ?`},
	}
	if change != nil {
		change(&e)
	}
	return e
}

func TestAnAuditEntryComesBackAsWritten(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		want := entry(nil)
		must(t, s.Record(t.Context(), want))
		bare := account.AuditEntry{ID: job.NewID(), At: microsecond(), Action: "user.login_failed"}
		must(t, s.Record(t.Context(), bare))
		got, err := s.AuditEntries(t.Context(), account.AuditFilter{Limit: 10})
		must(t, err)
		if len(got) != 2 || !reflect.DeepEqual(*got[1], want) || !reflect.DeepEqual(*got[0], bare) {
			t.Errorf("wrote %+v\nread  %+v", want, got)
		}
	})
}

func TestOddTextsAreCutAndCleanedButRecorded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		odd := strings.Repeat("\x00\xff€", 1000)
		must(t, s.Record(t.Context(), entry(func(e *account.AuditEntry) {
			e.Actor, e.Target, e.IP, e.UserAgent, e.RequestID, e.Detail = odd, odd, odd, odd, odd, map[string]string{
				odd: odd,
			}
		})))
		got, err := s.AuditEntries(t.Context(), account.AuditFilter{Limit: 1})
		must(t, err)
		if len(got) != 1 || !utf8.ValidString(got[0].UserAgent) || strings.Contains(got[0].UserAgent, "\x00") ||
			len(got[0].Detail) != 1 {
			t.Errorf("read %+v", got)
		}
	})
}

func TestAuditEntriesAreFilteredAndPaged(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		old := entry(func(e *account.AuditEntry) {
			e.ID, e.At = job.FirstIDAt(time.Now().Add(-time.Hour)), microsecond().Add(-time.Hour)
		})
		bobs := entry(func(e *account.AuditEntry) { e.Actor, e.Action = "bob@example.com", "key.create" })
		last := entry(nil)
		for _, e := range []account.AuditEntry{old, bobs, last} {
			must(t, s.Record(t.Context(), e))
		}
		for name, c := range map[string]struct {
			filter account.AuditFilter
			want   []job.ID
		}{
			"all":      {account.AuditFilter{}, []job.ID{last.ID, bobs.ID, old.ID}},
			"actor":    {account.AuditFilter{Actor: "bob@example.com"}, []job.ID{bobs.ID}},
			"actor id": {account.AuditFilter{ActorID: old.ActorID}, []job.ID{old.ID}},
			"action":   {account.AuditFilter{Action: "job.cancel"}, []job.ID{last.ID, old.ID}},
			"since":    {account.AuditFilter{Since: bobs.At}, []job.ID{last.ID, bobs.ID}},
			"page":     {account.AuditFilter{Before: last.ID, Limit: 1}, []job.ID{bobs.ID}},
		} {
			if c.filter.Limit == 0 {
				c.filter.Limit = 10
			}
			got, err := s.AuditEntries(t.Context(), c.filter)
			must(t, err)
			var ids []job.ID
			for _, e := range got {
				ids = append(ids, e.ID)
			}
			if !reflect.DeepEqual(ids, c.want) {
				t.Errorf("%s: got %v, want %v", name, ids, c.want)
			}
		}
	})
}
