package store

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func newKey(userID job.ID) *account.Key {
	return &account.Key{
		ID:         job.NewID(),
		UserID:     userID,
		Name:       "ci",
		Scopes:     []account.Scope{account.ScopeJobsRead, account.ScopeAdmin},
		SecretHash: sum("secret"),
		CreatedAt:  microsecond(),
		ExpiresAt:  microsecond().Add(time.Hour),
	}
}

func TestAKeyComesBackAsWrittenUntilItIsDeleted(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner, stranger := createUser(t, s, account.RoleUser), createUser(t, s, account.RoleUser)
		k := newKey(owner.ID)
		must(t, s.CreateKey(t.Context(), account.Request{}, k, 100))
		got, err := s.Key(t.Context(), k.ID)
		must(t, err)
		list, err := s.Keys(t.Context(), owner.ID, job.ID{}, 10)
		must(t, err)
		if !reflect.DeepEqual(got, k) || len(list) != 1 || !reflect.DeepEqual(list[0], k) {
			t.Errorf("wrote %+v\nread  %+v\nlist  %+v", k, got, list)
		}
		wantCode(t, s.DeleteKey(t.Context(), account.Request{}, stranger.ID, k.ID), job.CodeNotFound)
		must(t, s.DeleteKey(t.Context(), account.Request{}, owner.ID, k.ID))
		wantCode(t, s.DeleteKey(t.Context(), account.Request{}, owner.ID, k.ID), job.CodeNotFound)
		_, err = s.Key(t.Context(), k.ID)
		wantCode(t, err, job.CodeNotFound)
		wantCode(t, s.CreateKey(t.Context(), account.Request{}, newKey(job.NewID()), 100), job.CodeNotFound)
	})
}

func TestNobodyGetsMoreKeysThanAllowedHoweverManyAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := createUser(t, s, account.RoleUser)
		const limit = 3
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := s.CreateKey(t.Context(), account.Request{}, newKey(owner.ID), limit); err != nil &&
					!errors.Is(err, job.ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		list, err := s.Keys(t.Context(), owner.ID, job.ID{}, 100)
		must(t, err)
		if len(list) != limit {
			t.Errorf("%d keys were made", len(list))
		}
		older, err := s.Keys(t.Context(), owner.ID, list[0].ID, 1)
		must(t, err)
		if len(older) != 1 || older[0].ID != list[1].ID {
			t.Errorf("the page after %s is %v", list[0].ID, older)
		}
	})
}

func TestTheLastUseOfAKeyOnlyMovesForward(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		k := newKey(createUser(t, s, account.RoleUser).ID)
		must(t, s.CreateKey(t.Context(), account.Request{}, k, 100))
		at := microsecond()
		must(t, s.TouchKeys(t.Context(), nil, at))
		for _, moment := range []time.Time{at, at.Add(-time.Hour)} {
			must(t, s.TouchKeys(t.Context(), []job.ID{k.ID, job.NewID()}, moment))
		}
		got, err := s.Key(t.Context(), k.ID)
		must(t, err)
		if !got.LastUsedAt.Equal(at) {
			t.Errorf("last used at %s, want %s", got.LastUsedAt, at)
		}
	})
}
