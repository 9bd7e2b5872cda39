package auth

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/store"
)

// BenchmarkAuthenticate is what a request pays for being known, with a token and with an API key
// that are in use.
func BenchmarkAuthenticate(b *testing.B) {
	ledger, err := store.Open(
		b.Context(),
		store.Config{URL: "sqlite:" + b.TempDir() + "/waybill.db", Log: slog.New(slog.DiscardHandler)},
	)
	must(b, err)
	b.Cleanup(func() { _ = ledger.Close() })
	_, err = ledger.Migrate(b.Context())
	must(b, err)
	s, err := New(testConfig(), Deps{Ledger: ledger, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	must(b, err)
	u, err := s.CreateAdmin(b.Context(), "ann@example.com", goodPassword)
	must(b, err)
	tokens, err := s.Login(b.Context(), u.Email, goodPassword)
	must(b, err)
	_, key, err := s.CreateKey(
		b.Context(),
		principalOf(u),
		NewKey{Name: "ci", Scopes: []account.Scope{account.ScopeJobsWrite}},
	)
	must(b, err)
	for name, header := range map[string][]string{"token": {"Bearer " + tokens.Access}, "key": {"Bearer " + key}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Authenticate(b.Context(), header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("junk", func(b *testing.B) {
		junk := []string{"Bearer " + strings.Repeat("a", 200) + ".b.c"}
		for b.Loop() {
			_, _ = s.Authenticate(b.Context(), junk)
		}
	})
}
