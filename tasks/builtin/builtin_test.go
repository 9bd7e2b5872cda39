package builtin

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/tasks/builtin/internal/process"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// everything is a configuration in which every type exists.
func everything() Config {
	cfg := Config{
		HTTP: HTTPConfig{Secret: testSecret, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		SMTP: SMTPConfig{Addr: "mail.example.com:587", From: "Shop <shop@example.com>", Username: "u", Password: "p"},
	}
	if process.Supported {
		cfg.Command.Allow = map[string]string{"report": "/usr/local/bin/report", "backup": "/usr/local/bin/backup"}
	}
	return cfg
}

// builtins are the types that come with Waybill.
func builtins() []string {
	return []string{"command.run", "debug.echo", "debug.fail", "debug.sleep", "email.send", "http.request"}
}

// has reports whether a catalogue holds a type. Further types change no test.
func has(c *catalogue.Catalogue, name string) bool {
	_, ok := c.Lookup(name)
	return ok
}

func TestTypesThatNeedConfigurationAreOffWithoutIt(t *testing.T) {
	t.Parallel()
	c, err := shipped(Config{}, discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"debug.echo", "debug.fail", "debug.sleep", "http.request"} {
		if !has(c, name) {
			t.Errorf("without configuration there is no %s", name)
		}
	}
	configured, err := shipped(everything(), discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"command.run", "email.send"} {
		if has(c, name) || !has(configured, name) {
			t.Errorf("%s: without configuration %v, with it %v", name, has(c, name), has(configured, name))
		}
	}
}

// TestEveryShippedTypeExplainsItself holds types that are added to what the documentation asks of
// them, and the built-in ones to more.
func TestEveryShippedTypeExplainsItself(t *testing.T) {
	t.Parallel()
	c, err := shipped(everything(), discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range c.Types() {
		builtin := slices.Contains(builtins(), typ.Name)
		if builtin && !strings.HasSuffix(typ.Description, ".") {
			t.Errorf("%s: its description is no sentence: %q", typ.Name, typ.Description)
		}
		if err := typ.Check(typ.Example); err != nil {
			t.Errorf("%s: its example %s: %s", typ.Name, typ.Example, fieldsOf(t, err))
		}
		var schema struct {
			Schema     string `json:"$schema"`
			Type       string
			Properties map[string]struct{ Description string }
		}
		if err := json.Unmarshal(typ.Schema, &schema); err != nil {
			t.Fatalf("%s: %v", typ.Name, err)
		}
		if schema.Type != "object" || !strings.Contains(schema.Schema, "2020-12") {
			t.Errorf("%s: its schema is %s", typ.Name, typ.Schema)
		}
		for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
			if builtin && len(schema.Properties[field].Description) < 10 {
				t.Errorf("%s: the field %s has no description", typ.Name, field)
			}
		}
	}
	for name, private := range map[string]bool{"http.request": true, "email.send": true, "command.run": true,
		"debug.echo": false, "debug.sleep": false, "debug.fail": false} {
		if typ, ok := c.Lookup(name); !ok || typ.Private != private {
			t.Errorf("%s is not there, or its privacy is wrong", name)
		}
	}
}

func TestAWrongConfigurationIsRefusedWithEveryMistakeAndNoSecret(t *testing.T) {
	t.Parallel()
	_, err := shipped(Config{
		HTTP:    HTTPConfig{Secret: "whsec_TOPSECRET"},
		SMTP:    SMTPConfig{Addr: "mail", From: "nobody", Username: "u", Password: "TOPSECRET", TLS: "none"},
		Command: CommandConfig{Allow: map[string]string{"a b": "/bin/true", "rel": "bin/true"}},
	}, discard())
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"secret of http.request", "host:port", "sender", "needs TLS", `"a b"`, `"rel"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "TOPSECRET") {
		t.Errorf("a secret is shown:\n%v", err)
	}
	for _, smtp := range []SMTPConfig{
		{Addr: "h:25", From: "a@b.c", TLS: "ssl"}, {Addr: "h:0", From: "a@b.c"}, {Addr: ":25", From: "a@b.c"},
		{Addr: "h:25", From: "a@b.c", Username: "u"}, {Addr: "h:25", From: "a@b.c", CAFile: "/nonexistent"},
	} {
		if _, err := shipped(Config{SMTP: smtp}, discard()); err == nil {
			t.Errorf("taken: %+v", smtp)
		}
	}
}
