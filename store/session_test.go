package store

import (
	"reflect"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func createSession(t *testing.T, s *Store, userID job.ID) *account.Session {
	t.Helper()
	now := microsecond()
	b := &account.Session{
		ID:        job.NewID(),
		UserID:    userID,
		CreatedAt: now,
		SeenAt:    now,
		ExpiresAt: now.Add(time.Hour),
		IP:        "::1",
		UserAgent: "test",
	}
	b.TokenHash = sum(b.ID.String())
	must(t, s.CreateSession(t.Context(), b, someHash, account.AuditEntry{}))
	return b
}

func TestASessionLivesUntilItIsEnded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		b := createSession(t, s, createUser(t, s, account.RoleUser).ID)
		got, err := s.Session(t.Context(), b.TokenHash)
		must(t, err)
		if !reflect.DeepEqual(got, b) {
			t.Errorf("wrote %+v, read %+v", b, got)
		}
		seen := b.SeenAt.Add(time.Minute)
		must(t, s.TouchSessions(t.Context(), []job.ID{b.ID}, seen))
		must(t, s.TouchSessions(t.Context(), []job.ID{b.ID}, b.SeenAt))
		ended, err := s.EndSession(t.Context(), b.TokenHash, nil)
		must(t, err)
		if !ended.SeenAt.Equal(seen) {
			t.Errorf("seen at %s, want %s", ended.SeenAt, seen)
		}
		_, err = s.Session(t.Context(), b.TokenHash)
		wantCode(t, err, job.CodeNotFound)
		_, err = s.EndSession(t.Context(), b.TokenHash, nil)
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestPurgingTakesIdleSessions(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		idle, busy := createSession(t, s, u.ID), createSession(t, s, u.ID)
		must(t, s.TouchSessions(t.Context(), []job.ID{busy.ID}, busy.SeenAt.Add(30*time.Minute)))
		n, err := s.PurgeSessions(t.Context(), microsecond(), idle.SeenAt.Add(10*time.Minute), 10)
		must(t, err)
		if n != 1 {
			t.Errorf("purged %d", n)
		}
		_, err = s.Session(t.Context(), busy.TokenHash)
		must(t, err)
	})
}
