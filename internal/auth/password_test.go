package auth

import (
	"errors"
	"sort"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestPasswordsThatAreGuessedFirstAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := func(err error, pointer string) bool {
		var e *job.Error
		return errors.As(err, &e) && e.Code == job.CodeInvalid && len(e.Fields) == 1 && e.Fields[0].Pointer == pointer
	}
	const email = "ann.longname@example.com"
	weak := []string{
		"password",
		"Password1",
		"12345678",
		"qwertyuiop",
		"iloveyou",
		email,
		"Ann.LongName@example.com",
		"ann.longname",
	}
	for _, password := range weak {
		if _, err := b.Register(t.Context(), NewUser{Email: email, Password: password}); !refused(err, "/password") {
			t.Errorf("registered with %q: %v", password, err)
		}
	}
	u := b.user(email, account.RoleUser)
	for _, password := range append(weak, goodPassword) { // the last is the one of before
		if err := b.ChangePassword(t.Context(), principalOf(u), goodPassword, password); !refused(
			err,
			"/new_password",
		) {
			t.Errorf("changed to %q: %v", password, err)
		}
	}
	_, err := b.ChangeUser(t.Context(), nil, u.ID, account.Change{Password: &weak[0]})
	if !refused(err, "/password") {
		t.Errorf("set to %q: %v", weak[0], err)
	}
}

func TestEveryCommonPasswordIsFound(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(commonPasswords, "\n"), "\n")
	if len(lines) < 10_000 || !sort.StringsAreSorted(lines) {
		t.Fatalf("%d lines, sorted: %v", len(lines), sort.StringsAreSorted(lines))
	}
	for i, line := range lines {
		if line != strings.ToLower(line) || !isCommon(line) {
			t.Fatalf("line %d, %q, is not found", i+1, line)
		}
	}
	for _, other := range []string{"", "\n", lines[0] + "\n" + lines[1], "correct horse", lines[0][:len(lines[0])-1] +
		"\x00", "\U0010ffff"} {
		if isCommon(other) {
			t.Errorf("%q is found", other)
		}
	}
}
