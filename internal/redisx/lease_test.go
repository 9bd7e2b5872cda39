package redisx

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

func TestADutyIsOnesUntilItRunsOutOrIsGivenUp(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	const a, b = "a", "b"
	ask := func(who string, ttl time.Duration) bool {
		held, err := Lease(t.Context(), client, "duty", who, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	first, again := ask(a, time.Hour), ask(a, time.Hour)
	if !first || !again || ask(b, time.Hour) {
		t.Error("want the first to have and keep it, alone")
	}
	for _, who := range []string{b, a} {
		if ask(b, time.Hour) {
			t.Error("it was given up by somebody else")
		}
		if err := Release(t.Context(), client, "duty", who); err != nil {
			t.Fatal(err)
		}
	}
	if !ask(b, time.Millisecond) {
		t.Error("given up, but still held")
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return ask(a, time.Hour) }, "it runs out")
}
