package auth

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

const goodPassword = "correct horse"

// clock stands still until it is told to move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().UTC().Truncate(time.Microsecond)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a service on a ledger of its own.
type bench struct {
	*Service
	t      *testing.T
	clock  *clock
	ledger *faultyLedger
}

// faultyLedger is a real ledger that can be out of reach.
type faultyLedger struct {
	Ledger
	mu    sync.Mutex
	fails error
	reads int           // of users
	gate  chan struct{} // reads wait until it is closed; nil: they don't
}

func (f *faultyLedger) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = err
}

func (f *faultyLedger) broken() error {
	f.mu.Lock()
	f.reads++
	gate, err := f.gate, f.fails
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return err
}

func (f *faultyLedger) User(ctx context.Context, id job.ID) (*account.User, error) {
	if err := f.broken(); err != nil {
		return nil, err
	}
	return f.Ledger.User(ctx, id)
}

func (f *faultyLedger) UserByEmail(ctx context.Context, email string) (*account.User, error) {
	if err := f.broken(); err != nil {
		return nil, err
	}
	return f.Ledger.UserByEmail(ctx, email)
}

func openLedger(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Log: testenv.Logger(t)})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	_, err = s.Migrate(t.Context())
	must(t, err)
	return s
}

func sqliteURL(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "waybill.db") }

func testConfig() Config {
	return Config{
		Keys:         []SigningKey{{"k1", []byte(strings.Repeat("1", 32))}, {"k0", []byte(strings.Repeat("0", 32))}},
		Open:         true,
		PasswordCost: Cost{MemoryKiB: 64, Passes: 1, Lanes: 1},
	}
}

// setup makes a service on SQLite without Redis; change what the test is about.
func setup(t *testing.T, change ...func(*Config, *Deps)) *bench {
	t.Helper()
	return setupOn(t, openLedger(t, sqliteURL(t)), change...)
}

func setupOn(t *testing.T, ledger Ledger, change ...func(*Config, *Deps)) *bench {
	t.Helper()
	c := newClock()
	faulty := &faultyLedger{Ledger: ledger}
	cfg, deps := testConfig(), Deps{Ledger: faulty, Log: testenv.Logger(t), Now: c.now}
	for _, f := range change {
		f(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	must(t, err)
	s.throttle.buckets.breaker.patience = 10 * time.Second // a busy machine is not what most tests are about
	return &bench{Service: s, t: t, clock: c, ledger: faulty}
}

func withRedis(client redis.UniversalClient) func(*Config, *Deps) {
	return func(_ *Config, d *Deps) { d.Redis = client }
}

// forEachLedger runs a test on both engines.
func forEachLedger(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); f(t, setupOn(t, openLedger(t, testenv.Postgres(t)))) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); f(t, setup(t)) })
}

// user makes an account with goodPassword.
func (b *bench) user(email string, role account.Role) *account.User {
	b.t.Helper()
	u, err := b.CreateUser(b.t.Context(), nil, NewUser{Email: email, Password: goodPassword, Role: role})
	must(b.t, err)
	return u
}

func (b *bench) login(email string) Tokens {
	b.t.Helper()
	tokens, err := b.Login(b.t.Context(), email, goodPassword)
	must(b.t, err)
	return tokens
}

func (b *bench) authenticate(token string) (*account.Principal, error) {
	return b.Authenticate(b.t.Context(), []string{"Bearer " + token})
}

func (b *bench) audit() []*account.AuditEntry {
	b.t.Helper()
	entries, err := b.AuditEntries(b.t.Context(), account.AuditFilter{Limit: 200})
	must(b.t, err)
	return entries
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code job.Code) {
	t.Helper()
	if err == nil || job.CodeOf(err) != code {
		t.Fatalf("got error %v, want code %q", err, code)
	}
}

func TestTheLifeOfASignIn(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u := b.user(" Ann@Example.com ", account.RoleOperator)
		first := b.login("ANN@example.com")
		p, err := b.authenticate(first.Access)
		must(t, err)
		if p.UserID != u.ID || p.Email != "ann@example.com" || p.Role != account.RoleOperator || !p.KeyID.IsZero() {
			t.Errorf("the caller is %+v", p)
		}
		b.clock.pass(AccessTTL)
		_, err = b.authenticate(first.Access)
		wantCode(t, err, job.CodeUnauthenticated)
		second, err := b.Refresh(t.Context(), first.Refresh)
		must(t, err)
		_, err = b.authenticate(second.Access)
		must(t, err)
		must(t, b.Logout(t.Context(), second.Refresh))
		must(t, b.Logout(t.Context(), second.Refresh))
		must(t, b.Logout(t.Context(), "junk"))
		_, err = b.Refresh(t.Context(), second.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
	})
}

func TestARefreshTokenUsedTwiceEndsItsFamilyOnly(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u := b.user("ann@example.com", account.RoleUser)
		first, other := b.login(u.Email), b.login(u.Email)
		second, err := b.Refresh(t.Context(), first.Refresh)
		must(t, err)
		for _, token := range []string{first.Refresh, second.Refresh, first.Refresh} {
			_, err = b.Refresh(t.Context(), token)
			wantCode(t, err, job.CodeUnauthenticated)
		}
		_, err = b.Refresh(t.Context(), other.Refresh)
		must(t, err)
		if e := b.audit()[0]; e.Action != RefreshReused || e.Target != u.ID.String() {
			t.Errorf("the last audit entry is %+v", e)
		}
		b.clock.pass(RefreshTTL)
		_, err = b.Refresh(t.Context(), other.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
	})
}

func TestAChangeOfPasswordEndsEverySignIn(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u := b.user("ann@example.com", account.RoleUser)
		old := b.login(u.Email)
		tab, err := b.CreateSession(t.Context(), u.Email, goodPassword)
		must(t, err)
		_, key, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
		must(t, err)
		p, err := b.authenticate(old.Access) // caches fill
		must(t, err)
		_, err = b.SessionPrincipal(t.Context(), tab)
		must(t, err)

		wantCode(t, b.ChangePassword(t.Context(), p, "wrong horse", "better horse"), job.CodeInvalid)
		wantCode(t, b.ChangePassword(t.Context(), p, goodPassword, "short"), job.CodeInvalid)
		must(t, b.ChangePassword(t.Context(), p, goodPassword, "better horse"))
		_, err = b.authenticate(old.Access)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.Refresh(t.Context(), old.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.SessionPrincipal(t.Context(), tab)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.Login(t.Context(), u.Email, goodPassword)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.authenticate(key)
		must(t, err)
		again, err := b.Login(t.Context(), u.Email, "better horse") // in the same millisecond
		must(t, err)
		_, err = b.authenticate(again.Access)
		must(t, err)
		_, err = b.Refresh(t.Context(), again.Refresh)
		must(t, err)
	})
}

func TestADisabledUserIsCutOffAtOnce(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		admin, u := b.user("root@example.com", account.RoleAdmin), b.user("ann@example.com", account.RoleUser)
		tokens := b.login(u.Email)
		_, key, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
		must(t, err)
		for _, token := range []string{tokens.Access, key} {
			_, err := b.authenticate(token)
			must(t, err)
		}
		yes, no := true, false
		_, err = b.ChangeUser(t.Context(), principalOf(admin), u.ID, account.Change{Disabled: &yes})
		must(t, err)
		for _, token := range []string{tokens.Access, key} {
			_, err := b.authenticate(token)
			wantCode(t, err, job.CodeUnauthenticated)
		}
		_, err = b.Refresh(t.Context(), tokens.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.Login(t.Context(), u.Email, goodPassword)
		wantCode(t, err, job.CodeUnauthenticated)

		_, err = b.ChangeUser(t.Context(), principalOf(admin), u.ID, account.Change{Disabled: &no})
		must(t, err)
		_, err = b.authenticate(tokens.Access) // a token from before
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.authenticate(key)
		must(t, err)
		_, err = b.ChangeUser(t.Context(), principalOf(admin), admin.ID, account.Change{Disabled: &yes})
		wantCode(t, err, job.CodeConflict)
	})
}

func TestARoleComesFromTheLedgerNotFromTheToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin, u := b.user("root@example.com", account.RoleAdmin), b.user("ann@example.com", account.RoleUser)
	tokens := b.login(u.Email)
	role := account.RoleViewer
	_, err := b.ChangeUser(t.Context(), principalOf(admin), u.ID, account.Change{Role: &role})
	must(t, err)
	p, err := b.authenticate(tokens.Access)
	must(t, err)
	if p.Role != account.RoleViewer {
		t.Errorf("the role is %s", p.Role)
	}
	p.Role = account.RoleAdmin // a caller's own copy
	if p, _ := b.authenticate(tokens.Access); p.Role != account.RoleViewer {
		t.Error("a principal is shared between requests")
	}
}

func TestALedgerOutOfReachIsNotAWrongToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleUser)
	tokens := b.login(u.Email)
	b.ledger.fail(job.Unavailable("the ledger cannot be reached", errors.New("connection refused")))
	_, err := b.authenticate(tokens.Access)
	wantCode(t, err, job.CodeUnavailable)
	for range 50 { // and counts as no failed try
		_, err = b.Login(t.Context(), u.Email, goodPassword)
		wantCode(t, err, job.CodeUnavailable)
	}
	b.ledger.fail(nil)
	_, err = b.authenticate(tokens.Access)
	must(t, err)
	b.login(u.Email)
}

func TestAUserIsLookedUpOnceInTwoSeconds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tokens := b.login(b.user("ann@example.com", account.RoleUser).Email)
	before := b.ledger.reads
	b.ledger.gate = make(chan struct{})
	var all, begun sync.WaitGroup
	begun.Add(50)
	for range 50 {
		all.Go(func() {
			begun.Done()
			if _, err := b.authenticate(tokens.Access); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	close(b.ledger.gate)
	all.Wait()
	if n := b.ledger.reads - before; n != 1 {
		t.Errorf("looked up %d times", n)
	}
	b.clock.pass(localTTL)
	_, err := b.authenticate(tokens.Access)
	must(t, err)
	if n := b.ledger.reads - before; n != 2 {
		t.Errorf("looked up %d times", n)
	}
}

func TestNothingStartsWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	ledger := openLedger(t, sqliteURL(t))
	for name, change := range map[string]func(*Config, *Deps){
		"no ledger":     func(_ *Config, d *Deps) { d.Ledger = nil },
		"no log":        func(_ *Config, d *Deps) { d.Log = nil },
		"no key":        func(c *Config, _ *Deps) { c.Keys = nil },
		"short key":     func(c *Config, _ *Deps) { c.Keys[0].Secret = c.Keys[0].Secret[:31] },
		"same id twice": func(c *Config, _ *Deps) { c.Keys[1].ID = "k1" },
		"odd id":        func(c *Config, _ *Deps) { c.Keys[0].ID = "../k" },
		"no passes":     func(c *Config, _ *Deps) { c.PasswordCost = Cost{MemoryKiB: 64, Lanes: 1} },
		"no burst":      func(c *Config, _ *Deps) { c.Limits.Account = Limit{Every: time.Second} },
	} {
		cfg, deps := testConfig(), Deps{Ledger: ledger, Log: slog.New(slog.DiscardHandler)}
		change(&cfg, &deps)
		if _, err := New(cfg, deps); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}
