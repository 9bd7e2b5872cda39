package config_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/caarlos0/env/v11"

	"github.com/waybill/waybill/internal/config"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read finds variables and their defaults in a file of the tree; the expression's groups are the
// name and the default.
func read(t *testing.T, path, expression string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(readFile(t, path), -1) {
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
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS", "WAYBILL_SMTP_PASSWORD",
		"WAYBILL_WEBHOOK_SECRET"} {
		// The manual tells what it stands for, where others have a default.
		example[name+"_FILE"], manual[name+"_FILE"] = "", name
	}
	client, err := env.GetFieldParams(&config.Client{}) // read by commands, which have no .env
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range client {
		manual[p.Key] = p.DefaultValue
	}
	for name, value := range composeOnly(t, params) {
		example[name] = value
	}
	compare(t, ".env.example", read(t, "../../.env.example", `(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$`), example)
	compare(
		t,
		"docs/configuration.md",
		read(t, "../../docs/configuration.md", "(?m)^\\| `([A-Z][A-Z0-9_]*)` \\|(?: `([^`]*)`)? \\|"),
		manual,
	)
}

// composeOnly finds what docker-compose.yml reads from .env for itself, with its defaults.
func composeOnly(t *testing.T, params []env.FieldParams) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, match := range regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*):(?:-([^${}]*)|\?)`).FindAllStringSubmatch(readFile(t, "../../docker-compose.yml"), -1) {
		if !slices.ContainsFunc(params, func(p env.FieldParams) bool { return p.Key == match[1] }) {
			found[match[1]] = match[2]
		}
	}
	return found
}

func TestDockerComposeHandsEveryVariableOn(t *testing.T) {
	t.Parallel()
	params, err := env.GetFieldParams(&config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	compose := readFile(t, "../../docker-compose.yml")
	for _, p := range params {
		switch p.Key {
		case "WAYBILL_ADDR", "WAYBILL_METRICS_ADDR": // ports within a container are the file's own matter
			continue
		}
		if !regexp.MustCompile(`(?m)^ +` + p.Key + `:`).MatchString(compose) {
			t.Errorf("docker-compose.yml hands %s to nobody", p.Key)
		}
	}
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
