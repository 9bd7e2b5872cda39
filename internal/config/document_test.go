package config_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/caarlos0/env/v11"

	"github.com/waybill/waybill/internal/config"
)

// read finds variables and their defaults in a file of the tree; the expression's groups are the name and the default.
func read(t *testing.T, path, expression string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
		if _, twice := found[match[1]]; twice {
			t.Errorf("%s names %s twice", path, match[1])
		}
		found[match[1]] = match[2]
	}
	return found
}

func TestTheDocumentsNameTheVariablesAndDefaultsOfTheStruct(t *testing.T) {
	t.Parallel()
	params, err := env.GetFieldParams(&config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	example, manual := make(map[string]string), make(map[string]string)
	for _, p := range params {
		example[p.Key], manual[p.Key] = p.DefaultValue, p.DefaultValue
	}
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS", "WAYBILL_SMTP_PASSWORD", "WAYBILL_WEBHOOK_SECRET"} {
		example[name+"_FILE"], manual[name+"_FILE"] = "", name // the manual tells what it stands for, where others have a default
	}
	compare(t, ".env.example", read(t, "../../.env.example", `(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$`), example)
	compare(t, "docs/configuration.md", read(t, "../../docs/configuration.md", "(?m)^\\| `([A-Z][A-Z0-9_]*)` \\|(?: `([^`]*)`)? \\|"), manual)
}

func compare(t *testing.T, file string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if has, ok := got[name]; !ok || has != value {
			t.Errorf("%s: %s is %q (named: %v), want %q", file, name, has, ok, value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s names %s, which nobody reads", file, name)
		}
	}
}
