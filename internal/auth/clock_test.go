package auth

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/testenv"
)

// Two processes of one deployment go by the ledger's clock, however far apart their own clocks are.
func TestProcessesWhoseClocksDifferTakeEachOthersSignIns(t *testing.T) {
	t.Parallel()
	ledger, shared := openLedger(t, sqliteURL(t)), testenv.Redis(t).Client(t)
	process := func(ahead time.Duration) *bench {
		return setupOn(t, ledger, withRedis(shared), func(_ *Config, d *Deps) {
			d.Now = func() time.Time { return time.Now().Add(ahead) }
			d.LedgerNow = time.Now
		})
	}
	all := []*bench{process(10 * time.Minute), process(-10 * time.Minute), process(0)}
	u := all[0].user("ann@example.com", account.RoleUser)
	for i, from := range all {
		tokens := from.login(u.Email)
		tab, err := from.CreateSession(t.Context(), u.Email, goodPassword)
		must(t, err)
		for k, to := range all {
			if _, err := to.authenticate(tokens.Access); err != nil {
				t.Errorf("process %d refuses the access token of process %d: %v", k, i, err)
			}
			if _, err := to.SessionPrincipal(t.Context(), tab); err != nil {
				t.Errorf("process %d refuses the session of process %d: %v", k, i, err)
			}
			if tokens, err = to.Refresh(t.Context(), tokens.Refresh); err != nil {
				t.Fatalf("process %d refuses the refresh token of process %d: %v", k, i, err)
			}
		}
	}
	must(t, all[0].ChangePassword(t.Context(), principalOf(u), goodPassword, goodPassword+" anew"))
	if _, err := all[1].Login(t.Context(), u.Email, goodPassword+" anew"); err != nil {
		t.Errorf("the new password is refused: %v", err)
	}
}

// The tokens of before are refused until the ledger's clock has caught up with them: a change of
// password could not end them.
func TestWhatIsKeptHereEndsThoughTheLedgersClockStepsBack(t *testing.T) {
	t.Parallel()
	var back time.Duration
	b := setup(t, func(_ *Config, d *Deps) {
		pace := d.Now
		d.LedgerNow = func() time.Time { return pace().Add(-back) }
	})
	u := b.user("ann@example.com", account.RoleUser)
	old := b.login(u.Email)
	back = 10 * time.Minute
	b.clock.pass(time.Second)
	fresh := b.login(u.Email)
	if _, err := b.authenticate(fresh.Access); err != nil {
		t.Errorf("a token of after the step is refused: %v", err)
	}
	if _, err := b.authenticate(old.Access); err == nil {
		t.Error("a token from the future is taken")
	}
	disabled, elsewhere := true, setupOn(t, b.ledger.Ledger)
	_, err := elsewhere.ChangeUser(t.Context(), nil, u.ID, account.Change{Disabled: &disabled})
	must(t, err)
	b.clock.pass(localTTL + time.Second)
	if _, err := b.authenticate(fresh.Access); err == nil {
		t.Error("a disabled user is still taken for enabled")
	}
}
