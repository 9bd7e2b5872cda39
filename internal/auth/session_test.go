package auth

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestABrowserSessionLivesWhileItIsUsedForHalfADay(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		u := b.user("ann@example.com", account.RoleViewer)
		ctx := WithOrigin(t.Context(), &Origin{IP: "192.0.2.1", UserAgent: "browser", RequestID: "r"})
		token, err := b.CreateSession(ctx, u.Email, goodPassword)
		must(t, err)
		began := b.clock.now()
		for b.clock.now().Sub(began) < SessionTTL {
			p, err := b.SessionPrincipal(t.Context(), token)
			must(t, err)
			if p.UserID != u.ID || p.Role != account.RoleViewer {
				t.Fatalf("the caller is %+v", p)
			}
			must(t, b.flush(t.Context()))
			b.clock.pass(50 * time.Minute)
		}
		_, err = b.SessionPrincipal(t.Context(), token)
		wantCode(t, err, job.CodeUnauthenticated)
		if e := b.audit()[0]; e.IP != "192.0.2.1" || e.UserAgent != "browser" || e.RequestID != "r" ||
			e.Actor != u.Email {
			t.Errorf("the audit entry is %+v", e)
		}
	})
}

func TestABrowserSessionEndsWhenIdleOrSignedOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleViewer)
	token, err := b.CreateSession(t.Context(), u.Email, goodPassword)
	must(t, err)
	b.clock.pass(SessionIdle)
	_, err = b.SessionPrincipal(t.Context(), token)
	wantCode(t, err, job.CodeUnauthenticated)

	token, err = b.CreateSession(t.Context(), u.Email, goodPassword)
	must(t, err)
	_, err = b.SessionPrincipal(t.Context(), token)
	must(t, err)
	for range 2 {
		must(t, b.EndSession(t.Context(), token))
		_, err = b.SessionPrincipal(t.Context(), token)
		wantCode(t, err, job.CodeUnauthenticated)
	}
	for _, junk := range []string{"", "x", token + "\n", token[:len(token)-1], sessionPrefix + newSecret()} {
		_, err = b.SessionPrincipal(t.Context(), junk)
		wantCode(t, err, job.CodeUnauthenticated)
	}
	must(t, b.EndSession(t.Context(), "junk"))
}

func TestWhatHasExpiredIsPurged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleViewer)
	tokens := b.login(u.Email)
	token, err := b.CreateSession(t.Context(), u.Email, goodPassword)
	must(t, err)
	must(t, b.purge(t.Context()))
	_, err = b.ledger.Session(t.Context(), hashOf(token))
	must(t, err)
	b.clock.pass(RefreshTTL)
	must(t, b.purge(t.Context()))
	_, err = b.ledger.Session(t.Context(), hashOf(token))
	wantCode(t, err, job.CodeNotFound)
	r, _ := parseRefresh(tokens.Refresh)
	_, err = b.ledger.EndFamily(t.Context(), r.keyHash(), nil)
	wantCode(t, err, job.CodeNotFound)
}
