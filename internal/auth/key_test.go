package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestAKeyStandsForItsOwnerWithinItsScopes(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u := b.user("ann@example.com", account.RoleOperator)
		k, text, err := b.CreateKey(
			t.Context(),
			principalOf(u),
			NewKey{Name: " ci ", Scopes: []account.Scope{account.ScopeQueuesRead, account.ScopeQueuesRead}},
		)
		must(t, err)
		if k.Name != "ci" || !slices.Equal(k.Scopes, []account.Scope{account.ScopeQueuesRead}) ||
			!k.ExpiresAt.IsZero() {
			t.Errorf("made %+v", k)
		}
		p, err := b.authenticate(text)
		must(t, err)
		if p.UserID != u.ID || p.KeyID != k.ID || p.Role != account.RoleOperator || !slices.Equal(p.Scopes, k.Scopes) {
			t.Errorf("the caller is %+v", p)
		}
		p.Scopes[0] = account.ScopeAdmin // a caller's own copy
		if p, _ := b.authenticate(text); p.Scopes[0] != account.ScopeQueuesRead {
			t.Error("scopes are shared between requests")
		}
		_, text, err = b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "default"})
		must(t, err)
		p, err = b.authenticate(text)
		must(t, err)
		if !slices.Equal(p.Scopes, []account.Scope{account.ScopeJobsRead, account.ScopeJobsWrite}) {
			t.Errorf("scopes are %v", p.Scopes)
		}
	})
}

func TestWrongKeysAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleUser)
	_, text, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
	must(t, err)
	_, other, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "other"})
	must(t, err)
	cut := len(keyPrefix) + idLen
	for name, token := range map[string]string{
		"right id with wrong secret":     text[:cut] + newSecret(),
		"right id with another's secret": text[:cut] + other[cut:],
		"unknown id": strings.Replace(other, other[3:cut],
			strings.ReplaceAll(job.NewID().String(), "-", ""), 1),
		"lower case":           strings.ToLower(text),
		"upper case":           strings.ToUpper(text),
		"id in upper case":     text[:3] + strings.ToUpper(text[3:cut]) + text[cut:],
		"trailing newline":     text + "\n",
		"trailing space":       text + " ",
		"one character more":   text + "A",
		"one character less":   text[:len(text)-1],
		"id only":              text[:cut],
		"prefix only":          keyPrefix,
		"two prefixes":         keyPrefix + text,
		"id that is no UUIDv7": keyPrefix + strings.Repeat("0", idLen) + text[cut:],
	} {
		if _, err := b.authenticate(token); job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = b.authenticate(text)
	must(t, err)
}

func TestAKeyEndsWhenItIsRevokedOrExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, stranger := b.user("ann@example.com", account.RoleUser), b.user("eve@example.com", account.RoleAdmin)
	short, shortText, err := b.CreateKey(
		t.Context(),
		principalOf(u),
		NewKey{Name: "short", ExpiresAt: b.clock.now().Add(time.Second)},
	)
	must(t, err)
	long, longText, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "long"})
	must(t, err)
	for _, text := range []string{shortText, longText} {
		_, err := b.authenticate(text)
		must(t, err)
	}
	b.clock.pass(time.Second) // the copy in this process is younger than that
	_, err = b.authenticate(shortText)
	wantCode(t, err, job.CodeUnauthenticated)
	wantCode(t, b.RevokeKey(t.Context(), principalOf(stranger), stranger.ID, long.ID), job.CodeNotFound)
	_, err = b.authenticate(longText)
	must(t, err)
	must(t, b.RevokeKey(t.Context(), principalOf(u), u.ID, long.ID))
	_, err = b.authenticate(longText)
	wantCode(t, err, job.CodeUnauthenticated)
	wantCode(t, b.RevokeKey(t.Context(), principalOf(u), u.ID, long.ID), job.CodeNotFound)
	left, err := b.Keys(t.Context(), u.ID, job.ID{}, 10)
	must(t, err)
	if len(left) != 1 || left[0].ID != short.ID {
		t.Errorf("left are %v", left)
	}
}

func TestKeysThatMakeNoSenseAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := principalOf(b.user("ann@example.com", account.RoleUser))
	_, _, err := b.CreateKey(
		t.Context(),
		p,
		NewKey{Name: " ", Scopes: []account.Scope{"jobs"}, ExpiresAt: b.clock.now()},
	)
	var e *job.Error
	if !errors.As(err, &e) || e.Code != job.CodeInvalid || len(e.Fields) != 3 {
		t.Errorf("got %v", err)
	}
	for _, n := range []NewKey{{Name: strings.Repeat("n", 101)}, {Name: "a\nb"}, {Name: "\u202eevil"},
		{Name: "x", ExpiresAt: b.clock.now().Add(MaxKeyTTL + time.Hour)}} {
		_, _, err := b.CreateKey(t.Context(), p, n)
		wantCode(t, err, job.CodeInvalid)
	}
}

func TestTheLastUseOfAKeyIsWrittenDownOncePerMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := principalOf(b.user("ann@example.com", account.RoleUser))
	k, text, err := b.CreateKey(t.Context(), p, NewKey{Name: "ci"})
	must(t, err)
	lastUse := func() time.Time {
		t.Helper()
		_, err := b.authenticate(text)
		must(t, err)
		must(t, b.flush(t.Context()))
		got, err := b.ledger.Key(t.Context(), k.ID)
		must(t, err)
		return got.LastUsedAt
	}
	first := lastUse()
	if d := b.clock.now().Sub(first); d < 0 || d > time.Second {
		t.Errorf("first use at %s", first)
	}
	b.clock.pass(noteEvery - time.Second)
	if again := lastUse(); !again.Equal(first) {
		t.Errorf("written again at %s", again)
	}
	b.clock.pass(time.Second)
	if later := lastUse(); later.Sub(first) < noteEvery {
		t.Errorf("not written again: %s", later)
	}
}

func TestNothingThatIsLoggedOrKeptHoldsASecret(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := setup(t, func(_ *Config, d *Deps) {
		d.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	u := b.user("ann@example.com", account.RoleUser)
	tokens := b.login(u.Email)
	tab, err := b.CreateSession(t.Context(), u.Email, goodPassword)
	must(t, err)
	k, key, err := b.CreateKey(t.Context(), principalOf(u), NewKey{Name: "ci"})
	must(t, err)
	next, err := b.Refresh(t.Context(), tokens.Refresh)
	must(t, err)
	_, _ = b.Refresh(t.Context(), tokens.Refresh)
	_, err = b.Login(t.Context(), "wrong horse", goodPassword) // a password typed into the wrong field
	wantCode(t, err, job.CodeUnauthenticated)
	must(t, b.RevokeKey(t.Context(), principalOf(u), u.ID, k.ID))
	must(t, b.EndSession(t.Context(), tab))
	everything := log.String()
	for _, e := range b.audit() {
		everything += e.Actor + e.Target + e.IP + e.UserAgent
		for name, value := range e.Detail {
			everything += name + value
		}
	}
	for _, secret := range []string{goodPassword, "wrong horse", tokens.Access, tokens.Refresh, next.Refresh, tab, key,
		key[3+idLen:]} {
		if strings.Contains(everything, secret) {
			t.Errorf("%.20q… is kept in %s", secret, everything)
		}
	}
	if !strings.Contains(everything, "refresh token used twice") {
		t.Error("reuse is not logged")
	}
}
