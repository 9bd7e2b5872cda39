package auth

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func TestAStrangerCannotTellWhichPartWasWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, gone := b.user("ann@example.com", account.RoleUser), b.user("gone@example.com", account.RoleUser)
	b.user("root@example.com", account.RoleAdmin)
	yes := true
	_, err := b.ChangeUser(t.Context(), nil, gone.ID, account.Change{Disabled: &yes})
	must(t, err)
	var answers []string
	for _, try := range [][2]string{
		{u.Email, "wrong horse"}, {"nobody@example.com", goodPassword}, {gone.Email, goodPassword},
		{"not an address", goodPassword},
		{u.Email, goodPassword + " "}, {u.Email, strings.ToUpper(goodPassword)}, {"", goodPassword},
		{strings.Repeat("a", 1<<20), goodPassword},
	} {
		_, err := b.Login(t.Context(), try[0], try[1])
		wantCode(t, err, job.CodeUnauthenticated)
		answers = append(answers, err.Error())
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("answers differ: %q", answers)
		}
	}
	for _, e := range b.audit() {
		if strings.Contains(e.Target+e.Actor, "nobody") || strings.Contains(e.Target, "address") {
			t.Errorf("what was typed instead of an account is kept: %+v", e)
		}
	}
}

// Hashing is nearly all that a sign-in costs. The test checks that each sign-in hashes once, known
// user or not, and does not measure time.
func TestAnUnknownUserCostsAsMuchAsAWrongPassword(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, gone := b.user("ann@example.com", account.RoleUser), b.user("gone@example.com", account.RoleUser)
	disabled := true
	_, err := b.ChangeUser(t.Context(), nil, gone.ID, account.Change{Disabled: &disabled})
	must(t, err)
	for _, email := range []string{u.Email, "nobody@example.com", gone.Email, "not an address"} {
		before := b.hasher.hashed.Load()
		_, err := b.Login(t.Context(), email, "wrong horse")
		wantCode(t, err, job.CodeUnauthenticated)
		if n := b.hasher.hashed.Load() - before; n != 1 {
			t.Errorf("a sign-in as %q hashes %d times", email, n)
		}
	}
	if cost, _, _, err := parsePHC(b.hasher.dummy); err != nil || cost != b.hasher.cost {
		t.Errorf("who does not exist costs %+v, %v; who does %+v", cost, err, b.hasher.cost)
	}
}

func TestPasswordsAreKeptExactly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, password := range []string{"  outer spaces  ", "😀😀😀😀😀😀😀😀", "tab\tand\nline",
		strings.Repeat("x", MaxPassword), "passw\u00f6rd", "passwo\u0308rd"} {
		email := string(rune('a'+i)) + "@example.com"
		_, err := b.Register(t.Context(), NewUser{Email: email, Password: password})
		must(t, err)
		_, err = b.Login(t.Context(), email, password)
		must(t, err)
		for _, other := range []string{strings.TrimSpace(password) + "x", strings.ToUpper(password) + "!"} {
			if len(other) <= MaxPassword {
				_, err = b.Login(t.Context(), email, other)
				wantCode(t, err, job.CodeUnauthenticated)
			}
		}
	}
	_, err := b.Login(t.Context(), "e@example.com", "passwo\u0308rd") // looks the same as e's own
	wantCode(t, err, job.CodeUnauthenticated)
}

func TestImpossiblePasswordsAreRefusedBeforeHashing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range cap(b.hasher.slots) { // all slots for hashing are taken from here on
		b.hasher.slots <- struct{}{}
	}
	for name, password := range map[string]string{
		"1 MB": strings.Repeat("x", 1<<20), "7 characters": "1234567", "7 emoji": "😀😀😀😀😀😀😀", "NUL": "12345678\x00",
		"no UTF-8": "12345678\xff", "empty": "",
		"1025 bytes": strings.Repeat("x", MaxPassword+1),
	} {
		_, err := b.Register(t.Context(), NewUser{Email: "ann@example.com", Password: password})
		var e *job.Error
		if !errors.As(err, &e) || e.Code != job.CodeInvalid || len(e.Fields) != 1 ||
			e.Fields[0].Pointer != "/password" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, password := range []string{"", strings.Repeat("x", 1<<20), "12345678\x00"} {
		_, err := b.Login(t.Context(), "ann@example.com", password)
		wantCode(t, err, job.CodeInvalid)
	}
}

func TestAHashOfAnotherCostIsBroughtUpToDateOnSignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleUser)
	cheaper := Cost{MemoryKiB: 8, Passes: 1, Lanes: 1}
	must(t, b.ledger.Rehash(t.Context(), u.ID, u.PasswordHash, cheaper.hash(goodPassword)))
	b.login(u.Email)
	after, err := b.User(t.Context(), u.ID)
	must(t, err)
	if cost, _, _, err := parsePHC(after.PasswordHash); err != nil || cost != b.hasher.cost {
		t.Errorf("the cost is %+v, %v", cost, err)
	}
	b.login(u.Email)
}

func TestTooManyHashesAtOnceAreRefusedNotQueuedForEver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range cap(b.hasher.slots) {
		b.hasher.slots <- struct{}{}
	}
	var all sync.WaitGroup
	for range maxWaiting {
		all.Go(func() { _, _ = b.hasher.hash(t.Context(), "waits") })
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return b.hasher.waiting.Load() == maxWaiting }, "nobody waits")
	// The slots held above were not taken through do, so there is still room for as many as there
	// are slots.
	for range cap(b.hasher.slots) {
		all.Go(func() { _, _ = b.hasher.hash(t.Context(), "waits") })
	}
	testenv.Eventually(
		t,
		10*time.Second,
		func() bool { return b.hasher.waiting.Load() == maxWaiting+int32(cap(b.hasher.slots)) },
		"not full",
	)
	_, err := b.hasher.hash(t.Context(), "one too many")
	wantCode(t, err, job.CodeUnavailable)
	for range cap(b.hasher.slots) {
		<-b.hasher.slots
	}
	all.Wait()
	_, err = b.hasher.hash(t.Context(), "room again")
	must(t, err)
}

func TestHashesThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	good := DefaultCost().hash("x")
	if _, _, _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for _, phc := range []string{"", "$", "x", strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "t=2", "t=0", 1), strings.Replace(good, "m=19456", "m=4294967295", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		good + "$", good[:len(good)-40], "$argon2id$v=19$m=64,t=1,p=1$$"} {
		if _, _, _, err := parsePHC(phc); err == nil {
			t.Errorf("%q was taken", phc)
		}
	}
}
