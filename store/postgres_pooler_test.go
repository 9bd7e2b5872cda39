package store

import (
	"errors"
	"testing"

	"github.com/waybill/waybill/internal/testenv"
)

func TestBehindPgBouncerInSessionModeAllIsAsUsual(t *testing.T) {
	t.Parallel()
	// And none of its parameters ignored.
	s := newStore(t, testenv.PgBouncer(t, testenv.Postgres(t), "pool_mode = session"))
	must(t, s.CheckSessions(t.Context()))
	everything(t, s)
	addColumns(t, s, "newer")
	everything(t, s)
	contend(t, s)
	for name, want := range map[string]string{"statement_timeout": "15s", "application_name": "waybill",
		"TimeZone": "UTC"} {
		if got := show(t, s, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAPoolerThatKeepsNoSessionIsNamed(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	for _, settings := range [][]string{
		{"pool_mode = transaction"}, {"pool_mode = transaction", "server_round_robin = 1"},
		{"pool_mode = transaction", "default_pool_size = 1"},
		{"pool_mode = statement"},
	} {
		s, err := Open(t.Context(), Config{URL: testenv.PgBouncer(t, url, settings...), Log: testenv.Logger(t)})
		must(t, err)
		defer s.Close()
		if err := s.CheckSessions(t.Context()); !errors.Is(err, ErrNoSessions) {
			t.Errorf("%q: %v", settings, err)
		}
	}
	direct, err := Open(t.Context(), Config{URL: url, Log: testenv.Logger(t)})
	must(t, err)
	defer direct.Close()
	must(t, direct.CheckSessions(t.Context()))
}
