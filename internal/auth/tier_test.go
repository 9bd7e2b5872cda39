package auth

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func TestProcessesShareWhatTheyReadAndHearOfChanges(t *testing.T) {
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
	u := one.user("ann@example.com", account.RoleUser)
	tokens := one.login(u.Email)
	_, key, err := one.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
	must(t, err)
	for _, token := range []string{tokens.Access, key} {
		_, err := one.authenticate(token)
		must(t, err)
		_, err = two.authenticate(token)
		must(t, err)
	}
	if two.ledger.reads != 0 {
		t.Errorf("the second process read the user %d times, though Redis knew him", two.ledger.reads)
	}
	yes := true
	_, err = one.ChangeUser(t.Context(), nil, u.ID, account.Change{Disabled: &yes})
	must(t, err)
	two.clock.pass(localTTL)
	for _, token := range []string{tokens.Access, key} {
		_, err = two.authenticate(token)
		wantCode(t, err, job.CodeUnauthenticated)
	}
}

func TestAnOlderCopyInRedisDoesNotUndoAChangeMadeHere(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	client := patientClient(t, server)
	b := setup(t, withRedis(client))
	p := principalOf(b.user("ann@example.com", account.RoleUser))
	k, key, err := b.CreateKey(t.Context(), p, NewKey{Name: "ci"})
	must(t, err)
	_, err = b.authenticate(key)
	must(t, err)
	stale, err := client.Get(t.Context(), b.keys.key(k.ID)).Bytes()
	must(t, err)
	must(t, b.RevokeKey(t.Context(), p, p.UserID, k.ID))
	// By a process that read it a moment earlier.
	must(t, client.Set(t.Context(), b.keys.key(k.ID), stale, remoteTTL).Err())
	_, err = b.authenticate(key)
	wantCode(t, err, job.CodeUnauthenticated)
	b.clock.pass(localTTL)
	_, err = b.authenticate(key)
	wantCode(t, err, job.CodeUnauthenticated)
}

func TestNobodyBecomesAdministratorByWritingToRedis(t *testing.T) {
	t.Parallel()
	client := patientClient(t, testenv.Redis(t))
	b := setup(t, withRedis(client))
	admin, u := b.user("root@example.com", account.RoleAdmin), b.user("ann@example.com", account.RoleUser)
	for _, email := range []string{admin.Email, u.Email} {
		_, err := b.authenticate(b.login(email).Access)
		must(t, err)
	}
	token := b.login(u.Email).Access
	his, err := client.Get(t.Context(), b.users.key(admin.ID)).Bytes()
	must(t, err)
	forged := []byte(`{"Value":{"Role":"admin"},"ReadAt":"2026-01-01T00:00:00Z"}`)
	for name, value := range map[string][]byte{"another's copy": his, "no MAC": forged,
		"zero MAC": append(make([]byte, 32), forged...), "empty": {}, "short": []byte("x")} {
		b.clock.pass(localTTL)
		must(t, client.Set(t.Context(), b.users.key(u.ID), value, remoteTTL).Err())
		p, err := b.authenticate(token)
		must(t, err)
		if p.Role != account.RoleUser {
			t.Errorf("%s made %+v", name, p)
		}
	}
	own, err := client.Get(t.Context(), b.users.key(u.ID)).Bytes()
	must(t, err)
	if v, err := b.users.open(u.ID, own); v == nil || err != nil {
		t.Errorf("our own copy is refused: %v", err)
	}
	b.clock.pass(2*remoteTTL + time.Second)
	if v, _ := b.users.open(u.ID, own); v != nil {
		t.Error("a copy is believed for ever")
	}
}

func TestEverythingWorksWithRedisGoneAndNobodyWaitsForIt(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ begin, end func(*testenv.RedisServer) }{
		"paused": {(*testenv.RedisServer).Pause, (*testenv.RedisServer).Resume},
		"killed": {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Start},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.Redis(t)
			b := setup(t, withRedis(patientClient(t, server)), func(_ *Config, d *Deps) { d.Now = time.Now })
			u := b.user("ann@example.com", account.RoleUser)
			tokens := b.login(u.Email)
			// So that waiting each time would take more than the limit below.
			b.throttle.buckets.breaker.patience = time.Second
			ask := func() error {
				b.users.local.drop(u.ID)
				_, err := b.authenticate(tokens.Access)
				return err
			}
			fault.begin(server)
			start := time.Now()
			for range 100 {
				must(t, ask())
			}
			_, err := b.Refresh(t.Context(), b.login(u.Email).Refresh)
			must(t, err)
			_, err = b.Login(t.Context(), u.Email, "wrong horse")
			wantCode(t, err, job.CodeUnauthenticated)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if b.throttle.buckets.breaker.closedUntil.Load() == 0 {
				t.Error("nobody noticed that redis is gone")
			}
			fault.end(server)
			testenv.Eventually(
				t,
				20*time.Second,
				func() bool { return ask() == nil && b.throttle.buckets.breaker.closedUntil.Load() == 0 },
				"redis is not used again",
			)
		})
	}
}

func TestADeadRedisIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	c := newClock()
	r := newRedisBreaker(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), testenv.Logger(t), c.now)
	var asked atomic.Int32
	try := func() {
		_, err := ask(t.Context(), r, func(context.Context, redis.UniversalClient) (int, error) {
			asked.Add(1)
			return 0, context.DeadlineExceeded
		})
		if err == nil {
			t.Error("no error")
		}
	}
	for range 10 {
		try()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	c.pass(redisCooldown)
	for range 10 {
		try()
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	c.pass(redisCooldown)
	if _, err := ask(t.Context(), r, func(context.Context, redis.UniversalClient) (int, error) {
		return 0,
			redis.Nil
	}); err == nil {
		t.Error("redis.Nil is lost")
	}
	if r.closedUntil.Load() != 0 {
		t.Error("closed, though Redis answered")
	}
}

func TestAPanicInTheRedisClientIsAnError(t *testing.T) {
	t.Parallel()
	r := newRedisBreaker(redis.NewClient(&redis.Options{}), testenv.Logger(t), time.Now)
	if _, err := ask(t.Context(), r, func(context.Context, redis.UniversalClient) (int,
		error) {
		panic("odd")
	}); err == nil {
		t.Error("no error")
	}
}

func TestACacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache[int, int](10, time.Now)
	for i := range 1000 {
		c.put(i, i, time.Hour)
		if _, ok := c.get(0); !ok { // whatever is used stays
			t.Fatalf("0 is gone after %d", i)
		}
	}
	if n := len(c.young) + len(c.old); n > 20 {
		t.Errorf("%d entries", n)
	}
	c.drop(0)
	if _, ok := c.get(0); ok {
		t.Error("0 is still there")
	}
}

func TestWhatWasReadBeforeAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	c := newClock()
	reading, goOn := make(chan struct{}), make(chan struct{})
	var reads atomic.Int32
	tier := newReadThroughCache(
		"user",
		[]byte("k"),
		newRedisBreaker(nil, testenv.Logger(t), c.now),
		c.now,
		c.now,
		func(context.Context, job.ID) (*userState, error) {
			if reads.Add(1) == 1 {
				close(reading)
				<-goOn
				return &userState{Role: account.RoleAdmin}, nil
			}
			return &userState{Role: account.RoleUser}, nil
		},
	)
	id, done := job.NewID(), make(chan struct{})
	go func() {
		defer close(done)
		_, _ = tier.get(t.Context(), id)
	}()
	<-reading
	tier.changed(t.Context(), id) // demoted during the read
	close(goOn)
	<-done
	if v, err := tier.get(t.Context(), id); err != nil || v.Role != account.RoleUser {
		t.Errorf("got %+v, %v", v, err)
	}
}
