package auth

import (
	"context"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// lateLedger holds sign-ins back between the comparison of the password and their being written.
type lateLedger struct {
	Ledger
	arrived, release chan struct{}
}

func (l *lateLedger) wait() {
	select {
	case l.arrived <- struct{}{}:
		<-l.release
	case <-l.release: // the second try
	}
}

func (l *lateLedger) CreateFamily(ctx context.Context, f *account.Family, hash string, e account.AuditEntry) error {
	l.wait()
	return l.Ledger.CreateFamily(ctx, f, hash, e)
}

func (l *lateLedger) CreateSession(ctx context.Context, b *account.Session, hash string, e account.AuditEntry) error {
	l.wait()
	return l.Ledger.CreateSession(ctx, b, hash, e)
}

// The forced form of the race: the password fits, it is changed, and only then the sign-in is
// written, by a clock that runs.
func TestASignInIsNotWrittenWithAPasswordThatWasChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for engine, url := range map[string]func(*testing.T) string{"postgres": func(t *testing.T) string { return testenv.Postgres(t) }, "sqlite": sqliteURL} {
		for kind, try := range map[string]func(b *bench, email string) error{
			"tokens": func(b *bench, email string) error {
				_,
					err := b.Login(b.t.Context(), email, goodPassword)
				return err
			},
			"browser": func(b *bench, email string) error {
				_, err := b.CreateSession(b.t.Context(), email, goodPassword)
				return err
			},
		} {
			t.Run(engine+" "+kind, func(t *testing.T) {
				t.Parallel()
				ledger := openLedger(t, url(t))
				late := &lateLedger{Ledger: ledger, arrived: make(chan struct{}), release: make(chan struct{})}
				running := func(_ *Config, d *Deps) { d.Now = time.Now }
				one, two := setupOn(t, late, running), setupOn(t, ledger, running)
				u := two.user("ann@example.com", account.RoleUser)
				got := make(chan error, 1)
				go func() { got <- try(one, u.Email) }()
				<-late.arrived
				must(t, two.ChangePassword(t.Context(), principalOf(u), goodPassword, "better horse"))
				close(late.release)
				wantCode(t, <-got, job.CodeUnauthenticated)
				list, err := two.SignIns(t.Context(), u.ID, job.ID{}, 10)
				must(t, err)
				if len(list) > 0 {
					t.Errorf("signed in: %+v", list[0])
				}
			})
		}
	}
}
