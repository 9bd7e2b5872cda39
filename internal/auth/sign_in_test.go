package auth

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Loops sign in with the old password while it is changed. Whatever they were given before or at
// that moment must be worth nothing afterwards.
func TestNoSignInWithTheOldPasswordOutlivesItsChange(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		stop := make(chan struct{})
		var ticking sync.WaitGroup
		ticking.Go(func() { // a clock that runs: one that stands still would hide what was made too late
			for {
				select {
				case <-stop:
					return
				default:
					b.clock.pass(time.Microsecond)
				}
			}
		})
		defer ticking.Wait()
		defer close(stop)
		admin := b.user("root@example.com", account.RoleAdmin)
		for round, end := range map[string]func(t *testing.T, u *account.User, p *account.Principal) error{
			"changed": func(t *testing.T, _ *account.User, p *account.Principal) error {
				return b.ChangePassword(t.Context(), p, goodPassword, "better horse")
			},
			"set by an administrator": func(t *testing.T, u *account.User, _ *account.Principal) error {
				next := "better horse"
				_, err := b.ChangeUser(t.Context(), principalOf(admin), u.ID,
					account.Change{Password: &next, RequireChange: true})
				return err
			},
			"disabled": func(t *testing.T, u *account.User, _ *account.Principal) error {
				yes := true
				_, err := b.ChangeUser(t.Context(), principalOf(admin), u.ID, account.Change{Disabled: &yes})
				return err
			},
		} {
			u := b.user(strings.ReplaceAll(round, " ", "-")+"@example.com", account.RoleUser)
			p, err := b.authenticate(b.login(u.Email).Access)
			must(t, err)
			g := newGathered(b, u.Email)
			g.await(4)
			must(t, end(t, u, p))
			g.stop()
			g.check(t, round)
		}
	})
}

// gathered is what loops got who sign in, with tokens and as browsers, until they are stopped.
type gathered struct {
	b       *bench
	done    chan struct{}
	loops   sync.WaitGroup
	mu      sync.Mutex
	enough  *sync.Cond
	tokens  []Tokens
	cookies []string
}

func newGathered(b *bench, email string) *gathered {
	g := &gathered{b: b, done: make(chan struct{})}
	g.enough = sync.NewCond(&g.mu)
	for range 3 {
		g.loop(func() { g.token(b.Login(b.t.Context(), email, goodPassword)) })
		g.loop(func() { g.cookie(b.CreateSession(b.t.Context(), email, goodPassword)) })
	}
	return g
}

func (g *gathered) loop(try func()) {
	g.loops.Go(func() {
		for {
			select {
			case <-g.done:
				return
			default:
				try()
			}
		}
	})
}

func (g *gathered) token(tokens Tokens, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.tokens = append(g.tokens, tokens)
		_, _ = g.b.authenticate(tokens.Access) // fills the caches
	}
	g.enough.Broadcast()
}

func (g *gathered) cookie(token string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.cookies = append(g.cookies, token)
		_, _ = g.b.SessionPrincipal(g.b.t.Context(), token)
	}
	g.enough.Broadcast()
}

func (g *gathered) await(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.tokens) < n || len(g.cookies) < n {
		g.enough.Wait()
	}
}

func (g *gathered) stop() {
	close(g.done)
	g.loops.Wait()
}

func (g *gathered) check(t *testing.T, round string) {
	t.Helper()
	for _, tokens := range g.tokens {
		if _, err := g.b.authenticate(tokens.Access); job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%s: an access token is good: %v", round, err)
		}
		if _, err := g.b.Refresh(t.Context(), tokens.Refresh); job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%s: a refresh token is good: %v", round, err)
		}
	}
	for _, cookie := range g.cookies {
		if _, err := g.b.SessionPrincipal(t.Context(), cookie); job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%s: a cookie is good: %v", round, err)
		}
	}
}

func TestWhatACallerMayIsAskedAgainWhereItIsWritten(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		admin, other := b.user("root@example.com", account.RoleAdmin), b.user("toor@example.com", account.RoleAdmin)
		u := b.user("ann@example.com", account.RoleUser)
		stale, err := b.authenticate(b.login(u.Email).Access) // as a request holds it that began a moment ago
		must(t, err)
		demoted, err := b.authenticate(b.login(other.Email).Access)
		must(t, err)
		role := account.RoleOperator
		_, err = b.ChangeUser(t.Context(), principalOf(admin), other.ID, account.Change{Role: &role})
		must(t, err)
		must(t, b.EndSignIn(t.Context(), stale, u.ID, stale.SignInID))

		_, _, err = b.CreateKey(t.Context(), stale, NewKey{Name: "late"})
		wantCode(t, err, job.CodeUnauthenticated)
		wantCode(t, b.ChangePassword(t.Context(), stale, goodPassword, "better horse"), job.CodeUnauthenticated)
		_, err = b.Rename(t.Context(), stale, "late")
		wantCode(t, err, job.CodeUnauthenticated)
		wantCode(t, b.EndSignIns(t.Context(), stale, u.ID), job.CodeUnauthenticated)

		_, err = b.CreateUser(
			t.Context(),
			demoted,
			NewUser{Email: "new@example.com", Password: goodPassword, Role: account.RoleAdmin},
		)
		wantCode(t, err, job.CodeForbidden)
		_, err = b.ChangeUser(t.Context(), demoted, u.ID, account.Change{Role: &role})
		wantCode(t, err, job.CodeForbidden)
		wantCode(t, b.EndSignIns(t.Context(), demoted, u.ID), job.CodeForbidden)
		for _, e := range b.audit() { // what was refused left no entry
			if e.Action == KeyCreated || e.Action == UserCreated && e.ActorID == demoted.UserID {
				t.Errorf("the audit log has %+v", e)
			}
		}
	})
}

func TestSignInsAreListedAndEnded(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u, stranger := b.user("ann@example.com", account.RoleUser), b.user("bob@example.com", account.RoleUser)
		ctx := WithOrigin(t.Context(), &Origin{IP: "192.0.2.1", UserAgent: "curl"})
		tokens, err := b.Login(ctx, u.Email, goodPassword)
		must(t, err)
		b.clock.pass(time.Minute)
		cookie, err := b.CreateSession(ctx, u.Email, goodPassword)
		must(t, err)
		b.clock.pass(time.Minute)
		tokens, err = b.Refresh(
			WithOrigin(t.Context(), &Origin{IP: "198.51.100.7", UserAgent: "other"}),
			tokens.Refresh,
		)
		must(t, err)
		p, err := b.authenticate(tokens.Access)
		must(t, err)

		list, err := b.SignIns(t.Context(), u.ID, job.ID{}, 10)
		must(t, err)
		if len(list) != 2 || list[0].Kind != account.SignInBrowser || list[1].Kind != account.SignInToken ||
			list[1].ID != p.SignInID {
			t.Fatalf("listed %+v", list)
		}
		if in := list[1]; in.IP != "198.51.100.7" || in.UserAgent != "other" || !in.LastUsedAt.Equal(b.clock.now()) ||
			!in.ExpiresAt.Equal(in.CreatedAt.Add(SignInTTL)) {
			t.Errorf("the tokens' is %+v", in)
		}
		if in := list[0]; in.IP != "192.0.2.1" || in.UserAgent != "curl" {
			t.Errorf("the browser's is %+v", in)
		}
		next, err := b.SignIns(t.Context(), u.ID, list[0].ID, 10)
		must(t, err)
		if len(next) != 1 || next[0].ID != list[1].ID {
			t.Errorf("the next page is %+v", next)
		}

		wantCode(t, b.EndSignIn(t.Context(), principalOf(stranger), stranger.ID, p.SignInID), job.CodeNotFound)
		must(t, b.EndSignIns(t.Context(), p, u.ID)) // all but this one
		_, err = b.SessionPrincipal(t.Context(), cookie)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.authenticate(tokens.Access)
		must(t, err)
		must(t, b.EndSignIn(t.Context(), p, u.ID, p.SignInID))
		_, err = b.authenticate(tokens.Access)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.Refresh(t.Context(), tokens.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
		actions := []string{}
		for _, e := range b.audit()[:2] {
			actions = append(actions, e.Action)
		}
		if !slices.Equal(actions, []string{SignInEnded, SignInsEnded}) {
			t.Errorf("the audit log says %v", actions)
		}
	})
}

func TestASignInEndsHoweverOftenItIsRefreshed(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		b.cfg.SignInTTL = 48 * time.Hour
		u := b.user("ann@example.com", account.RoleUser)
		tokens := b.login(u.Email)
		began := b.clock.now()
		for b.clock.now().Sub(began) < 36*time.Hour {
			b.clock.pass(12 * time.Hour)
			var err error
			tokens, err = b.Refresh(t.Context(), tokens.Refresh)
			must(t, err)
		}
		b.clock.pass(12 * time.Hour)
		_, err := b.Refresh(t.Context(), tokens.Refresh)
		wantCode(t, err, job.CodeUnauthenticated)
		if e := b.audit()[0]; e.Action == RefreshReused {
			t.Errorf("the end of a sign-in is taken for theft: %+v", e)
		}
	})
}

func TestAPasswordSetByAnAdministratorOpensNothingButItsChange(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		admin, u := b.user("root@example.com", account.RoleAdmin), b.user("ann@example.com", account.RoleUser)
		before := b.login(u.Email)
		_, key, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
		must(t, err)
		set := "set by an administrator"
		changed, err := b.ChangeUser(
			t.Context(),
			principalOf(admin),
			u.ID,
			account.Change{Password: &set, RequireChange: true},
		)
		must(t, err)
		if !changed.PasswordChangeRequired {
			t.Errorf("changed to %+v", changed)
		}
		_, err = b.authenticate(before.Access)
		wantCode(t, err, job.CodeUnauthenticated)
		tokens, err := b.Login(t.Context(), u.Email, set)
		must(t, err)
		p, err := b.authenticate(tokens.Access)
		must(t, err)
		if !tokens.PasswordChangeRequired || !p.PasswordChangeRequired {
			t.Errorf("signed in with %+v", p)
		}
		wantCode(t, b.ChangePassword(t.Context(), p, set, set), job.CodeInvalid)
		must(t, b.ChangePassword(t.Context(), p, set, "better horse"))
		tokens, err = b.Login(t.Context(), u.Email, "better horse")
		must(t, err)
		if p, err = b.authenticate(tokens.Access); err != nil || p.PasswordChangeRequired {
			t.Errorf("after the change: %+v, %v", p, err)
		}
		if p, err = b.authenticate(key); err != nil || p.PasswordChangeRequired {
			t.Errorf("the key: %+v, %v", p, err)
		}
		if e := b.audit()[3]; e.Action != PasswordSet || e.ActorID != admin.ID {
			t.Errorf("the audit log has %+v", e)
		}

		_, err = b.SetPassword(t.Context(), "ANN@example.com", "from the command line", false)
		must(t, err)
		tokens, err = b.Login(t.Context(), u.Email, "from the command line")
		must(t, err)
		if tokens.PasswordChangeRequired {
			t.Error("a password from the command line must be changed, though nobody said so")
		}
		_, err = b.SetPassword(t.Context(), "nobody@example.com", "from the command line", false)
		wantCode(t, err, job.CodeNotFound)
	})
}
