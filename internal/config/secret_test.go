package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/config"
)

// printed is v by every verb of package fmt, even those that are wrong for it.
func printed(v any) []string {
	var all []string
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, flag := range []string{"", "+", "#", "-9", " "} {
			all = append(all, fmt.Sprintf("%"+flag+string(verb), v))
		}
	}
	return all
}

func TestASecretDoesNotShowHoweverItIsPrinted(t *testing.T) {
	t.Parallel()
	s := config.NewSecret("hunter2")
	for _, v := range []any{s, &s, []config.Secret{s}, map[string]config.Secret{"a": s}, struct{ S config.Secret }{s},
		struct{ s config.Secret }{s}} {
		for _, shown := range printed(v) {
			if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%T shows as %s", v, shown)
			}
		}
	}
	if s.Reveal() != "hunter2" || !s.IsSet() {
		t.Errorf("Reveal gives %q", s.Reveal())
	}
	if none := config.NewSecret(""); none.IsSet() || none.Reveal() != "" {
		t.Error("an empty secret counts as set")
	}
}
