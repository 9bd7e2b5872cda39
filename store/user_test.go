package store

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const someHash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"

// microsecond is the resolution of PostgreSQL's times.
func microsecond() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func createUser(t *testing.T, s *Store, role account.Role) *account.User {
	t.Helper()
	id := job.NewID()
	u := &account.User{
		ID:           id,
		Email:        id.String() + "@example.com",
		Name:         "Ann",
		Role:         role,
		PasswordHash: someHash,
		CreatedAt:    microsecond(),
	}
	if err := s.CreateUser(t.Context(), account.Request{}, u); err != nil {
		t.Fatal(err)
	}
	return u
}

func wantCode(t *testing.T, err error, code job.Code) {
	t.Helper()
	if err == nil || job.CodeOf(err) != code {
		t.Fatalf("got error %v, want code %q", err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAUserComesBackAsWritten(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleViewer)
		byID, err := s.User(t.Context(), u.ID)
		must(t, err)
		byEmail, err := s.UserByEmail(t.Context(), u.Email)
		must(t, err)
		if *byID != *u || *byEmail != *u {
			t.Errorf("wrote %+v\nby id    %+v\nby email %+v", u, byID, byEmail)
		}
		_, err = s.User(t.Context(), job.NewID())
		wantCode(t, err, job.CodeNotFound)
		_, err = s.UserByEmail(t.Context(), "nobody@example.com")
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestAFailedLookUpIsNotAMissingUser(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		must(t, s.Close())
		if _, err := s.User(t.Context(), u.ID); err == nil || errors.Is(err, job.ErrNotFound) {
			t.Errorf("a closed database answered %v", err)
		}
	})
}

func TestOneEmailHasOneAccountHoweverManyAsk(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		errs := make([]error, 10)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				errs[i] = s.CreateUser(
					t.Context(),
					account.Request{},
					&account.User{ID: job.NewID(), Email: "ann@example.com", Role: account.RoleUser,
						PasswordHash: someHash, CreatedAt: microsecond()},
				)
			})
		}
		all.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
				continue
			}
			wantCode(t, err, job.CodeConflict)
		}
		if made != 1 {
			t.Errorf("%d accounts were made", made)
		}
	})
}

func TestTheDatabaseItselfRefusesWrongUsers(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		for name, change := range map[string]func(*account.User){
			"role":        func(u *account.User) { u.Role = "root" },
			"upper case":  func(u *account.User) { u.Email = "Ann@example.com" },
			"outer space": func(u *account.User) { u.Email = " ann@example.com" },
			"no address":  func(u *account.User) { u.Email = "ann" },
			"long":        func(u *account.User) { u.Email = strings.Repeat("a", 250) + "@b.de" },
			"no hash":     func(u *account.User) { u.PasswordHash = "" },
			"plain text":  func(u *account.User) { u.PasswordHash = "correct horse" },
			"long name":   func(u *account.User) { u.Name = strings.Repeat("n", 101) },
		} {
			u := &account.User{
				ID:           job.NewID(),
				Email:        "ann@example.com",
				Role:         account.RoleUser,
				PasswordHash: someHash,
				CreatedAt:    microsecond(),
			}
			change(u)
			if err := s.CreateUser(t.Context(), account.Request{}, u); err == nil {
				t.Errorf("%s: was written", name)
			}
		}
	})
}

func TestUsersAreListedNewestFirstPageByPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		var made []job.ID
		for range 5 {
			made = append([]job.ID{createUser(t, s, account.RoleUser).ID}, made...)
		}
		var listed []job.ID
		var before job.ID
		for {
			page, err := s.Users(t.Context(), before, 2)
			must(t, err)
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				listed = append(listed, u.ID)
			}
			before = listed[len(listed)-1]
		}
		if len(listed) != len(made) {
			t.Fatalf("listed %d of %d", len(listed), len(made))
		}
		for i := range made {
			if listed[i] != made[i] {
				t.Errorf("place %d: got %s, want %s", i, listed[i], made[i])
			}
		}
	})
}

func TestDisablingEndsEverySignIn(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u, other := createUser(t, s, account.RoleUser), createUser(t, s, account.RoleUser)
		f, b := createFamily(t, s, u.ID), createSession(t, s, u.ID)
		others := createFamily(t, s, other.ID)
		at, disabled := microsecond(), true
		got, _, err := s.ChangeUser(t.Context(), account.Request{}, u.ID, account.Change{Disabled: &disabled}, at)
		must(t, err)
		read, err := s.User(t.Context(), u.ID)
		must(t, err)
		if *read != *got || !read.DisabledAt.Equal(at) || !read.ValidAfter.Equal(at) {
			t.Errorf("answered %+v, wrote %+v", got, read)
		}
		_, err = s.EndFamily(t.Context(), f.KeyHash, nil)
		wantCode(t, err, job.CodeNotFound)
		_, err = s.Session(t.Context(), b.TokenHash)
		wantCode(t, err, job.CodeNotFound)
		if _, err := s.EndFamily(t.Context(), others.KeyHash, nil); err != nil {
			t.Errorf("somebody else's sign-in ended too: %v", err)
		}

		disabled = false
		got, _, err = s.ChangeUser(
			t.Context(),
			account.Request{},
			u.ID,
			account.Change{Disabled: &disabled},
			microsecond(),
		)
		must(t, err)
		if !got.DisabledAt.IsZero() || !got.ValidAfter.Equal(at) {
			t.Errorf("enabled again: %+v", got)
		}
		_, _, err = s.ChangeUser(t.Context(), account.Request{}, job.NewID(), account.Change{Disabled: &disabled}, at)
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestTheLastEnabledAdministratorStays(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		admins := make([]*account.User, 8)
		for i := range admins {
			admins[i] = createUser(t, s, account.RoleAdmin)
		}
		role, disabled := account.RoleUser, true
		errs := make([]error, len(admins))
		var all sync.WaitGroup
		for i, a := range admins { // all at once: each sees the others still there, but for the guard
			change := account.Change{Role: &role}
			if i%2 == 0 {
				change = account.Change{Disabled: &disabled}
			}
			all.Go(func() { _, _, errs[i] = s.ChangeUser(t.Context(), account.Request{}, a.ID, change, microsecond()) })
		}
		all.Wait()
		refused := 0
		for _, err := range errs {
			if err != nil {
				wantCode(t, err, job.CodeConflict)
				refused++
			}
		}
		left := 0
		for _, a := range admins {
			u, err := s.User(t.Context(), a.ID)
			must(t, err)
			if enabledAdmin(u) {
				left++
			}
		}
		if refused != 1 || left != 1 {
			t.Errorf("%d refused and %d administrators left, want one each", refused, left)
		}
	})
}

// setPassword replaces someHash.
func setPassword(t *testing.T, s *Store, id job.ID, hash string, at time.Time) error {
	t.Helper()
	_, err := s.SetPassword(
		t.Context(),
		account.Request{},
		account.PasswordChange{UserID: id, OldHash: someHash, NewHash: hash, ValidAfter: at},
	)
	return err
}

func TestAPasswordIsReplacedOnceAndEndsEverySignIn(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		f, b := createFamily(t, s, u.ID), createSession(t, s, u.ID)
		at := microsecond()
		must(t, setPassword(t, s, u.ID, someHash+"2", at))
		wantCode(t, setPassword(t, s, u.ID, someHash+"3", at), job.CodeConflict)
		read, err := s.User(t.Context(), u.ID)
		must(t, err)
		if read.PasswordHash != someHash+"2" || !read.ValidAfter.Equal(at) {
			t.Errorf("after the change: %+v", read)
		}
		_, err = s.EndFamily(t.Context(), f.KeyHash, nil)
		wantCode(t, err, job.CodeNotFound)
		_, err = s.Session(t.Context(), b.TokenHash)
		wantCode(t, err, job.CodeNotFound)
	})
}

func TestRehashingKeepsSignInsAndNeverBringsAnOldPasswordBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		u := createUser(t, s, account.RoleUser)
		f := createFamily(t, s, u.ID)
		must(t, s.Rehash(t.Context(), u.ID, someHash, someHash+"2"))
		must(t, s.Rehash(t.Context(), u.ID, someHash, someHash+"3")) // of a password that was replaced meanwhile
		read, err := s.User(t.Context(), u.ID)
		must(t, err)
		if read.PasswordHash != someHash+"2" {
			t.Errorf("the hash is %s", read.PasswordHash)
		}
		_, err = s.EndFamily(t.Context(), f.KeyHash, nil)
		must(t, err)
	})
}
