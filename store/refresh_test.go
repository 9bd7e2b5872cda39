package store

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func sum(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

func createFamily(t *testing.T, s *Store, userID job.ID) *account.Family {
	t.Helper()
	f := &account.Family{
		ID:        job.NewID(),
		UserID:    userID,
		CreatedAt: microsecond(),
		ExpiresAt: microsecond().Add(time.Hour),
	}
	f.KeyHash, f.TokenHash = sum("key "+f.ID.String()), sum("token "+f.ID.String())
	must(t, s.CreateFamily(t.Context(), f, someHash, account.AuditEntry{}))
	return f
}

func rotation(f *account.Family, from, to []byte) account.Rotation {
	return account.Rotation{
		KeyHash:   f.KeyHash,
		OldHash:   from,
		NewHash:   to,
		At:        microsecond(),
		ExpiresAt: microsecond().Add(time.Hour),
	}
}

func TestATokenUsedTwiceEndsItsFamily(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		f := createFamily(t, s, u.ID)
		done, err := s.Rotate(t.Context(), rotation(f, f.TokenHash, sum("2")))
		must(t, err)
		if done.User == nil || *done.User != *u || done.Family.ID != f.ID || !done.Family.CreatedAt.Equal(f.CreatedAt) {
			t.Fatalf("the first use answered %+v", done)
		}
		done, err = s.Rotate(t.Context(), rotation(f, f.TokenHash, sum("3")))
		must(t, err)
		if done.User != nil || done.Family.ID != f.ID {
			t.Fatalf("the second use answered %+v", done)
		}
		_, err = s.Rotate(t.Context(), rotation(f, sum("2"), sum("4")))
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestOfManyRefreshesAtOnceOneAtMostWins(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		f := createFamily(t, s, createUser(t, s, account.RoleUser).ID)
		var all sync.WaitGroup
		won := make([]bool, 20)
		for i := range won {
			all.Go(func() {
				done, err := s.Rotate(t.Context(), rotation(f, f.TokenHash, sum(job.NewID().String())))
				if err != nil && !errors.Is(err, job.ErrNotFound) {
					t.Error(err)
				}
				won[i] = err == nil && done.User != nil
			})
		}
		all.Wait()
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d won", winners)
		}
		_, err := s.EndFamily(t.Context(), f.KeyHash, nil)
		wantCode(t, err, job.CodeNotFound) // the others gave it away
	})
}

// Property: in whatever order the tokens of a family are presented, several at once, none is good
// twice, and at most one is good at the end.
func TestAnyOrderOfRefreshesLeavesAtMostOneLiveToken(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		rapid.Check(t, func(r *rapid.T) {
			f := createFamily(t, s, u.ID)
			tokens := [][]byte{f.TokenHash}
			uses := map[string]int{}
			for range rapid.IntRange(1, 6).Draw(r, "rounds") {
				picks := rapid.SliceOfN(rapid.IntRange(0, len(tokens)-1), 1, 4).Draw(r, "picks")
				tokens = append(tokens, present(t, s, f, tokens, picks, uses)...)
			}
			for token, n := range uses {
				if n > 1 {
					r.Fatalf("token %x was good %d times", token[:4], n)
				}
			}
			live := 0
			for _, token := range tokens {
				if done, err := s.Rotate(t.Context(), rotation(f, token, sum("last"))); err == nil && done.User != nil {
					live++
				}
			}
			if live > 1 {
				r.Fatalf("%d tokens were good at the end", live)
			}
		})
	})
}

// present rotates from several tokens at once and answers the tokens that were made.
func present(
	t *testing.T,
	s *Store,
	f *account.Family,
	tokens [][]byte,
	picks []int,
	uses map[string]int,
) (made [][]byte) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range picks {
		all.Go(func() {
			next := sum(job.NewID().String())
			done, err := s.Rotate(t.Context(), rotation(f, tokens[p], next))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil && !errors.Is(err, job.ErrNotFound):
				t.Error(err)
			case err == nil && done.User != nil:
				made, uses[string(tokens[p])] = append(made, next), uses[string(tokens[p])]+1
			}
		})
	}
	all.Wait()
	return made
}

func TestAnExpiredTokenIsGoodForNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		f := createFamily(t, s, createUser(t, s, account.RoleUser).ID)
		r := rotation(f, f.TokenHash, sum("2"))
		r.At = f.ExpiresAt
		_, err := s.Rotate(t.Context(), r)
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestPurgingTakesWhatHasExpiredAndNoMoreThanAsked(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		var last *account.Family
		for range 5 {
			last = createFamily(t, s, u.ID)
			createSession(t, s, u.ID)
		}
		live, err := s.Rotate(
			t.Context(),
			account.Rotation{KeyHash: last.KeyHash, OldHash: last.TokenHash, NewHash: sum("new"), At: microsecond(),
				ExpiresAt: microsecond().Add(24 * time.Hour)},
		)
		must(t, err)
		at := live.Family.CreatedAt.Add(2 * time.Hour)
		for _, want := range []int{3, 1, 0} {
			n, err := s.PurgeFamilies(t.Context(), at, time.Time{}, 3)
			must(t, err)
			if n != want {
				t.Errorf("purged %d families, want %d", n, want)
			}
		}
		for _, want := range []int{3, 2, 0} {
			n, err := s.PurgeSessions(t.Context(), at, time.Time{}, 3)
			must(t, err)
			if n != want {
				t.Errorf("purged %d sessions, want %d", n, want)
			}
		}
	})
}
