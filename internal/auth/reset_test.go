package auth

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// mailbox keeps what it is sent.
type mailbox struct {
	mu    sync.Mutex
	mails []string // recipient and text
	fails error
}

func (m *mailbox) Send(_ context.Context, to, _, text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, to+"\n"+text)
	return m.fails
}

func (m *mailbox) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.mails...)
}

// resets has password resets for the address sent, one after the other, and answers the tokens.
func (b *bench) resets(m *mailbox, email string, n int) (tokens []string) {
	b.t.Helper()
	before := len(m.all())
	for range n {
		must(b.t, b.RequestReset(b.t.Context(), email))
	}
	for range n {
		must(b.t, b.sendReset(b.t.Context(), <-b.Service.resets))
	}
	for _, mail := range m.all()[before:] {
		tokens = append(tokens, regexp.MustCompile(`(?m)^wp_[A-Z2-7]{52}$`).FindString(mail))
	}
	return tokens
}

func TestAForgottenPasswordIsReplacedOnceByMeansOfAnEMail(t *testing.T) {
	forEachLedger(t, func(t *testing.T, b *bench) {
		m := &mailbox{}
		b.mailer = m
		u := b.user("ann@example.com", account.RoleUser)
		before := b.login(u.Email)
		tokens := b.resets(m, "ANN@example.com", 2)
		if len(tokens) != 2 || tokens[1] == "" {
			t.Fatalf("sent %q", m.all())
		}
		for _, token := range []string{"", "wp_", tokens[1] + "A", tokens[0], before.Refresh} { // the newest one counts
			wantCode(t, b.ConfirmReset(t.Context(), token, "better horse"), job.CodeInvalid)
		}
		// And is not spent by a mistake.
		for _, password := range []string{"short", u.Email, "password1", goodPassword} {
			wantCode(t, b.ConfirmReset(t.Context(), tokens[1], password), job.CodeInvalid)
		}
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = b.ConfirmReset(t.Context(), tokens[1], "better horse") })
		}
		all.Wait()
		done := 0
		for _, err := range errs {
			if err == nil {
				done++
			} else {
				wantCode(t, err, job.CodeInvalid)
			}
		}
		if done != 1 {
			t.Errorf("one token was good %d times", done)
		}
		_, err := b.authenticate(before.Access)
		wantCode(t, err, job.CodeUnauthenticated)
		_, err = b.Login(t.Context(), u.Email, "better horse")
		must(t, err)
	})
}

func TestAPasswordResetExpiresAndEndsWithTheNextPassword(t *testing.T) {
	t.Parallel()
	b, m := setup(t), &mailbox{}
	b.mailer = m
	u := b.user("ann@example.com", account.RoleUser)
	token := b.resets(m, u.Email, 1)[0]
	b.clock.pass(ResetTTL)
	wantCode(t, b.ConfirmReset(t.Context(), token, "better horse"), job.CodeInvalid)
	must(t, b.purge(t.Context()))

	token = b.resets(m, u.Email, 1)[0]
	must(t, b.ChangePassword(t.Context(), principalOf(u), goodPassword, "better horse"))
	wantCode(t, b.ConfirmReset(t.Context(), token, "best horse of all"), job.CodeInvalid)
}

func TestAPasswordResetDoesNotTellWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	b, m := setup(t), &mailbox{fails: errors.New("the mail server is down")}
	wantCode(t, b.RequestReset(t.Context(), "ann@example.com"), job.CodeForbidden) // there is none
	b.mailer = m
	gone := b.user("gone@example.com", account.RoleUser)
	yes := true
	_, err := b.ChangeUser(t.Context(), nil, gone.ID, account.Change{Disabled: &yes})
	must(t, err)
	u := b.user("ann@example.com", account.RoleUser)
	reads := b.ledger.reads
	for _, email := range []string{u.Email, "nobody@example.com", gone.Email} {
		must(t, b.RequestReset(t.Context(), email))
	}
	if b.ledger.reads != reads {
		t.Error("the ledger was asked before the answer")
	}
	for range 10 { // as many as may be requested
		must(t, b.RequestReset(t.Context(), u.Email))
	}
	ctx, stop := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { b.sendResets(ctx) })
	testenv.Eventually(
		t,
		30*time.Second,
		func() bool { return len(b.Service.resets) == 0 && len(m.all()) == resetsOfOne.Burst },
		"sent %q",
		m.all(),
	)
	stop()
	loop.Wait()
}
