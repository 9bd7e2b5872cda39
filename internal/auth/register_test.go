package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestRegisteringAKnownEmailLooksLikeAnyOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, err := b.Register(t.Context(), NewUser{Email: "ann@example.com", Password: goodPassword, Name: "Ann"})
	must(t, err)
	second, err := b.Register(
		t.Context(),
		NewUser{Email: "ANN@Example.Com", Password: "another horse", Name: "Eve", Role: account.RoleAdmin},
	)
	must(t, err)
	if second.ID == first.ID || second.Email != first.Email || second.Name != "Eve" ||
		second.Role != account.RoleUser ||
		second.CreatedAt.IsZero() {
		t.Errorf("the second answer is %+v", second)
	}
	_, err = b.User(t.Context(), second.ID)
	wantCode(t, err, job.CodeNotFound)
	_, err = b.Login(t.Context(), "ann@example.com", "another horse")
	wantCode(t, err, job.CodeUnauthenticated)
	kept, err := b.User(t.Context(), first.ID)
	must(t, err)
	if kept.Name != "Ann" {
		t.Errorf("the account was changed: %+v", kept)
	}
	b.login("ann@example.com")
	_, err = b.CreateAdmin(t.Context(), "Ann@example.com", goodPassword)
	wantCode(t, err, job.CodeConflict)
}

func TestRegistrationThatIsClosedMakesNobody(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config, _ *Deps) { c.Open = false })
	_, err := b.Register(t.Context(), NewUser{Email: "ann@example.com", Password: goodPassword})
	wantCode(t, err, job.CodeForbidden)
	admin, err := b.CreateAdmin(t.Context(), "root@example.com", goodPassword)
	must(t, err)
	if admin.Role != account.RoleAdmin {
		t.Errorf("made %+v", admin)
	}
}

func TestWrongRegistrationsNameEveryMistake(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Register(t.Context(), NewUser{Email: "no", Password: "no", Name: "a\x00"})
	var e *job.Error
	if !errors.As(err, &e) || len(e.Fields) != 3 {
		t.Errorf("got %v", err)
	}
	for _, email := range []string{"", "@", "a@", "@b", "a b@c.d", "Ann <ann@example.com>",
		"ann@example.com, bob@example.com", `"a b"@c.d`, "a@b..c", "a@-b.c",
		"a@[127.0.0.1]", "a@b\r\nBcc: x@y.z", "ann@exämple.com", "änn@example.com", "a@b.c\x00", "a@b@c",
		strings.Repeat("a", 65) + "@b.c",
		"a@" + strings.Repeat("b.", 130) + "c", "a@b.c (comment)", "a@b.c\x7f"} {
		if _, err := b.Register(t.Context(), NewUser{Email: email, Password: goodPassword}); job.CodeOf(
			err,
		) != job.CodeInvalid {
			t.Errorf("%q: %v", email, err)
		}
	}
	for _, email := range []string{"a@b", "ann+jobs@example.com", "o'hara@mail.example.co.uk", "\tann@example.com \n"} {
		if _, err := b.Register(t.Context(), NewUser{Email: email, Password: goodPassword}); err != nil {
			t.Errorf("%q: %v", email, err)
		}
	}
}
