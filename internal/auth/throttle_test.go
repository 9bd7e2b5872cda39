package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func from(t *testing.T, ip string) context.Context { return WithOrigin(t.Context(), &Origin{IP: ip}) }

// forEachRoad runs a test with the failures counted in Redis, and in the process.
func forEachRoad(t *testing.T, f func(t *testing.T, with func(*Config, *Deps))) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) { t.Parallel(); f(t, withRedis(patientClient(t, testenv.Redis(t)))) })
	t.Run("process", func(t *testing.T) { t.Parallel(); f(t, withRedis(nil)) })
}

func patientClient(t *testing.T, r *testenv.RedisServer) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.Ping(t.Context()).Err())
	return c
}

func TestWhoGuessesIsSlowedDownAndTheOwnerIsNot(t *testing.T) {
	forEachRoad(t, func(t *testing.T, with func(*Config, *Deps)) {
		b := setup(t, with)
		u := b.user("ann@example.com", account.RoleUser)
		home, away := from(t, "192.0.2.1"), from(t, "198.51.100.9")
		_, err := b.Login(home, u.Email, goodPassword)
		must(t, err)
		l := b.cfg.Limits.Account
		for range l.Burst {
			_, err := b.Login(away, u.Email, "wrong horse")
			wantCode(t, err, job.CodeUnauthenticated)
		}
		_, err = b.Login(away, "ANN@example.com", goodPassword) // even with the right one, or he would know
		wantCode(t, err, job.CodeTooMany)
		var e *job.Error
		if errors.As(err, &e); e.RetryAfter <= 0 || e.RetryAfter > l.Every {
			t.Errorf("retry after %s", e.RetryAfter)
		}
		for range 2 * l.Burst { // the owner's address has a bucket of its own, and what is right is not counted
			_, err = b.Login(home, u.Email, goodPassword)
			must(t, err)
		}
		b.user("bob@example.com", account.RoleUser)
		_, err = b.Login(away, "bob@example.com", goodPassword) // another account
		must(t, err)
	})
}

func TestAnAddressThatFailsWithManyAccountsIsSlowedDown(t *testing.T) {
	forEachRoad(t, func(t *testing.T, with func(*Config, *Deps)) {
		b := setup(t, with)
		for i := range b.cfg.Limits.Network.Burst {
			_, err := b.Login(
				from(t, fmt.Sprintf("2001:db8:1:2::%x", i+1)),
				fmt.Sprintf("u%d@example.com", i),
				"wrong horse",
			)
			wantCode(t, err, job.CodeUnauthenticated)
		}
		_, err := b.Login(from(t, "2001:db8:1:2:ffff::1"), "nobody@example.com", "wrong horse")
		wantCode(t, err, job.CodeTooMany)
		_, err = b.Login(from(t, "2001:db8:1:3::1"), "nobody@example.com", "wrong horse") // the next customer
		wantCode(t, err, job.CodeUnauthenticated)
	})
}

func TestAUserKnownAtAnAddressIsNotLockedOutByOthersThere(t *testing.T) {
	forEachRoad(t, func(t *testing.T, with func(*Config, *Deps)) {
		b := setup(t, with)
		office := from(t, "192.0.2.1")
		u, stranger := b.user("ann@example.com", account.RoleUser), b.user("bob@example.com", account.RoleUser)
		_, err := b.Login(office, u.Email, goodPassword)
		must(t, err)
		for i := range b.cfg.Limits.Network.Burst + 5 {
			_, err := b.Login(office, fmt.Sprintf("u%d@example.com", i), "wrong horse")
			if code := job.CodeOf(err); code != job.CodeUnauthenticated && code != job.CodeTooMany {
				t.Fatal(err)
			}
		}
		for range 3 {
			_, err = b.Login(office, u.Email, goodPassword)
			must(t, err)
		}
		_, err = b.Login(office, stranger.Email, goodPassword) // who never came in from there
		wantCode(t, err, job.CodeTooMany)
		for range b.cfg.Limits.Account.Burst { // and the pair is no way to guess either
			_, err = b.Login(office, u.Email, "wrong horse")
			wantCode(t, err, job.CodeUnauthenticated)
		}
		_, err = b.Login(office, u.Email, goodPassword)
		wantCode(t, err, job.CodeTooMany)
	})
}

func TestManyGuessesAtOnceDoNotSlipThrough(t *testing.T) {
	forEachRoad(t, func(t *testing.T, with func(*Config, *Deps)) {
		b := setup(t, with)
		u := b.user("ann@example.com", account.RoleUser)
		var mu sync.Mutex
		got := map[job.Code]int{}
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() {
				_, err := b.Login(t.Context(), u.Email, "wrong horse")
				mu.Lock()
				defer mu.Unlock()
				got[job.CodeOf(err)]++
			})
		}
		all.Wait()
		if n := got[job.CodeUnauthenticated]; n != b.cfg.Limits.Account.Burst {
			t.Errorf("%d guesses were looked at: %v", n, got)
		}
	})
}

func TestARedisThatGoesAwayGivesNobodyAFreshStart(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	b := setup(t, withRedis(patientClient(t, server)))
	u := b.user("ann@example.com", account.RoleUser)
	for i := range b.cfg.Limits.Account.Burst {
		if i == b.cfg.Limits.Account.Burst/2 {
			b.throttle.buckets.breaker.patience = redisTimeout
			server.Kill()
		}
		_, err := b.Login(t.Context(), u.Email, "wrong horse")
		wantCode(t, err, job.CodeUnauthenticated)
	}
	_, err := b.Login(t.Context(), u.Email, goodPassword)
	wantCode(t, err, job.CodeTooMany)
}

func TestProcessesCountFailuresTogether(t *testing.T) {
	t.Parallel()
	ledger, server := openLedger(t, sqliteURL(t)), testenv.Redis(t)
	one, two := setupOn(
		t,
		ledger,
		withRedis(patientClient(t, server)),
	), setupOn(
		t,
		ledger,
		withRedis(patientClient(t, server)),
	)
	name, l, taken := throttleName("account", "ann@example.com"), Limit{Every: time.Hour, Burst: 4}, 0
	for i := range 2 * l.Burst {
		if []*bench{one, two}[i%2].throttle.buckets.add(t.Context(), name, l) == 0 {
			taken++
		}
	}
	if taken != l.Burst {
		t.Errorf("two processes took %d, want %d", taken, l.Burst)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t) // in the process, where the clock can be moved
	u := b.user("ann@example.com", account.RoleUser)
	for range b.cfg.Limits.Account.Burst {
		_, _ = b.Login(t.Context(), u.Email, "wrong horse")
	}
	_, err := b.Login(t.Context(), u.Email, goodPassword)
	wantCode(t, err, job.CodeTooMany)
	b.clock.pass(b.cfg.Limits.Account.Every)
	b.login(u.Email)
}

func TestWrongCurrentPasswordsAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := principalOf(b.user("ann@example.com", account.RoleUser))
	for range b.cfg.Limits.Account.Burst {
		wantCode(t, b.ChangePassword(t.Context(), p, "wrong horse", "better horse"), job.CodeInvalid)
	}
	wantCode(t, b.ChangePassword(t.Context(), p, goodPassword, "better horse"), job.CodeTooMany)
}

func TestRegistrationsFromOneAddressAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range b.cfg.Limits.Register.Burst {
		_, err := b.Register(
			from(t, "192.0.2.1"),
			NewUser{Email: fmt.Sprintf("u%d@example.com", i), Password: goodPassword},
		)
		must(t, err)
	}
	_, err := b.Register(from(t, "192.0.2.1"), NewUser{Email: "more@example.com", Password: goodPassword})
	wantCode(t, err, job.CodeTooMany)
}

// Property: whenever tries come, a bucket lets through Burst at most beyond one each Every, and
// never none for longer than Every.
func TestABucketHoldsWhatItShall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		l := Limit{Every: time.Second, Burst: rapid.IntRange(1, 5).Draw(r, "burst")}
		start := time.Unix(1e9, 0)
		now, empty, taken := start, time.Time{}, 0
		for range 50 {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(r, "ms")) * time.Millisecond)
			next, wait := l.take(empty, now)
			if wait > l.Every {
				r.Fatalf("wait %s", wait)
			}
			if wait <= 0 {
				empty, taken = next, taken+1
			} else if _, again := l.take(empty, now.Add(wait)); again > 0 {
				r.Fatalf("there is no room after the wait that was named")
			}
			if most := l.Burst + int(now.Sub(start)/l.Every); taken > most {
				r.Fatalf("%d taken in %s", taken, now.Sub(start))
			}
		}
	})
}

func TestAnOriginIsCountedByItsNetwork(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "junk": "junk",
	} {
		if got := (Origin{IP: ip}).network(); got != want {
			t.Errorf("%q: got %q, want %q", ip, got, want)
		}
	}
}
