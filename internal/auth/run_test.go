package auth

import (
	"context"
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func TestRunWritesDownTheRestWhenItEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	k, text, err := b.CreateKey(
		t.Context(),
		principalOf(b.user("ann@example.com", account.RoleUser)),
		NewKey{Name: "ci"},
	)
	must(t, err)
	_, err = b.authenticate(text)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, b.Run(ctx))
	got, err := b.ledger.Key(t.Context(), k.ID)
	must(t, err)
	if got.LastUsedAt.IsZero() {
		t.Error("the use is lost")
	}
}
