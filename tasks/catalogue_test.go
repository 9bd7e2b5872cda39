package tasks

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

type greeting struct {
	Name string `json:"name" jsonschema:"minLength=1" jsonschema_description:"Who."`
}

func named(name string) Definition[greeting] {
	return Definition[greeting]{Name: name, Example: greeting{"Ann"},
		Handle: func(context.Context, greeting) (any, error) { return nil, nil }}
}

func TestRegisterRefusesBadNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "A", "a b", "a..b", ".a", "a.", "1a", "a-b", "a/b:c{d}", "a\n", "ä", strings.Repeat("a", 101)} {
		if err := Register(NewCatalogue(), named(name)); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	for _, name := range []string{"a", "a.b", "invoice_2.send_all", strings.Repeat("a", 100)} {
		if err := Register(NewCatalogue(), named(name)); err != nil {
			t.Errorf("the name %q was refused: %v", name, err)
		}
	}
}

func TestRegisterRefusesWhatCannotRun(t *testing.T) {
	t.Parallel()
	c := NewCatalogue()
	if err := Register(c, named("a.b")); err != nil {
		t.Fatal(err)
	}
	if err := Register(c, named("a.b")); err == nil {
		t.Error("a name was taken twice")
	}
	if err := Register(c, Definition[greeting]{Name: "no.handler"}); err == nil {
		t.Error("a type without a handler was taken")
	}
	if err := Register(c, Definition[string]{Name: "no.object", Handle: func(context.Context, string) (any, error) { return nil, nil }}); err == nil {
		t.Error("a payload that is no object was taken")
	}
	for _, d := range []Defaults{{Timeout: time.Millisecond}, {MaxRetries: job.MaxRetries + 1}, {Backoff: job.Backoff{Kind: "linear"}},
		{Backoff: job.Backoff{Base: time.Hour, Max: time.Minute}}, {Queue: strings.Repeat("q", job.MaxQueueName+1)}} {
		def := named("bad.defaults")
		def.Defaults = d
		if err := Register(c, def); err == nil {
			t.Errorf("defaults beyond a job's limits were taken: %+v", d)
		}
	}
}

func TestDefaultsAreFilledFromTheHouse(t *testing.T) {
	t.Parallel()
	c := NewCatalogue()
	once := named("run.once")
	once.Defaults = Defaults{Queue: "low", MaxRetries: -1, Timeout: time.Hour, Backoff: job.Backoff{Base: 12 * time.Hour}}
	if err := Register(c, named("plain")); err != nil {
		t.Fatal(err)
	}
	if err := Register(c, once); err != nil {
		t.Fatal(err)
	}
	plain, _ := c.Lookup("plain")
	want := Defaults{"default", 25, 30 * time.Second, job.Backoff{Kind: job.Exponential, Base: 10 * time.Second, Max: 6 * time.Hour}}
	if plain.Defaults != want {
		t.Errorf("house defaults are %+v, want %+v", plain.Defaults, want)
	}
	own, _ := c.Lookup("run.once")
	want = Defaults{"low", 0, time.Hour, job.Backoff{Kind: job.Exponential, Base: 12 * time.Hour, Max: 12 * time.Hour}}
	if own.Defaults != want {
		t.Errorf("own defaults became %+v, want %+v", own.Defaults, want)
	}
}

func TestLookupIsExactAndTypesAreInOrder(t *testing.T) {
	t.Parallel()
	c := NewCatalogue()
	for _, name := range []string{"b.two", "a.one", "a.one_more"} {
		if err := Register(c, named(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "a.", "a.on", "A.one", "a.one ", "a.one.x", ""} {
		if _, ok := c.Lookup(name); ok {
			t.Errorf("%q was found", name)
		}
	}
	var names []string
	for _, typ := range c.Types() {
		names = append(names, typ.Name)
	}
	if got := strings.Join(names, " "); got != "a.one a.one_more b.two" {
		t.Errorf("types came as %s", got)
	}
}

// run runs a definition once, as the worker would.
func run[P any](t *testing.T, d Definition[P], j *job.Job) (json.RawMessage, error) {
	t.Helper()
	return runIn(t.Context(), t, d, j)
}

func runIn[P any](ctx context.Context, t *testing.T, d Definition[P], j *job.Job) (json.RawMessage, error) {
	t.Helper()
	c := NewCatalogue()
	if err := Register(c, d); err != nil {
		t.Fatal(err)
	}
	typ, _ := c.Lookup(d.Name)
	if j.ID.IsZero() {
		j.ID = job.NewID()
	}
	return typ.Run(ctx, j)
}
