package catalogue

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

type greeting struct {
	Name string `json:"name" jsonschema:"minLength=1" jsonschema_description:"Who."`
}

type definition = tasks.Definition[greeting, any]

func named(name string) definition { return definition{Name: name, Example: greeting{"Ann"}} }

func TestNewRefusesBadNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "A", "a b", "a..b", ".a", "a.", "1a", "a-b", "a/b:c{d}", "a\n", "ä",
		strings.Repeat("a", 101)} {
		if _, err := New(named(name)); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	for _, name := range []string{"a", "a.b", "invoice_2.send_all", strings.Repeat("a", 100)} {
		if _, err := New(named(name)); err != nil {
			t.Errorf("the name %q was refused: %v", name, err)
		}
	}
}

func TestNewRefusesWhatCannotBeOffered(t *testing.T) {
	t.Parallel()
	_, err := New(named("a.b"), tasks.Definition[order, any]{Name: "a.b"})
	if err == nil || !strings.Contains(err.Error(), "catalogue.greeting") ||
		!strings.Contains(err.Error(), "catalogue.order") {
		t.Errorf("a name that is taken twice: %v", err)
	}
	if _, err := New(tasks.Definition[string, any]{Name: "no.object"}); err == nil {
		t.Error("a payload that is no object was taken")
	}
	for _, d := range []definition{
		{Timeout: time.Millisecond}, {MaxRetries: job.MaxRetries + 1}, {MaxRetries: -2},
		{Backoff: tasks.Backoff{Kind: "linear"}},
		{Backoff: tasks.Backoff{Base: time.Hour, Max: time.Minute}}, {Queue: strings.Repeat("q", job.MaxQueueName+1)},
	} {
		d.Name = "bad.defaults"
		if _, err := New(d); err == nil {
			t.Errorf("defaults beyond a job's limits were taken: %+v", d)
		}
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := New(named("A"), named("good"), tasks.Definition[string, any]{Name: "no.object"})
	if err == nil || !strings.Contains(err.Error(), `"A"`) || !strings.Contains(err.Error(), `"no.object"`) {
		t.Errorf("got %v", err)
	}
}

func TestDefaultsAreFilled(t *testing.T) {
	t.Parallel()
	once := named("run.once")
	once.Queue, once.MaxRetries, once.Timeout, once.Backoff = "low", tasks.NoRetries, time.Hour, tasks.Backoff{
		Base: 12 * time.Hour,
	}
	c, err := New(named("plain"), once)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := c.Lookup("plain")
	want := Defaults{
		"default",
		25,
		30 * time.Second,
		job.Backoff{Kind: job.Exponential, Base: 10 * time.Second, Max: 6 * time.Hour},
	}
	if plain.Defaults != want {
		t.Errorf("defaults are %+v, want %+v", plain.Defaults, want)
	}
	own, _ := c.Lookup("run.once")
	want = Defaults{"low", 0, time.Hour, job.Backoff{Kind: job.Exponential, Base: 12 * time.Hour, Max: 12 * time.Hour}}
	if own.Defaults != want {
		t.Errorf("own defaults became %+v, want %+v", own.Defaults, want)
	}
}

func TestLookupIsExactAndTypesAreInOrder(t *testing.T) {
	t.Parallel()
	c, err := New(named("b.two"), named("a.one"), named("a.one_more"))
	if err != nil {
		t.Fatal(err)
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

func TestADefinitionWithoutCodeCanBeCheckedButNotRun(t *testing.T) {
	t.Parallel()
	typ := compiled(t, named("x"))
	if err := typ.Check(json.RawMessage(`{"name":"Ann"}`)); err != nil || typ.Runs() {
		t.Errorf("checked: %v; runs: %v", err, typ.Runs())
	}
	if _, err := typ.Run(t.Context(), &job.Job{Payload: json.RawMessage(`{"name":"Ann"}`)}); err == nil ||
		tasks.IsPermanent(err) {
		t.Errorf("ran without code: %v", err)
	}
}

func compiled(t testing.TB, typ tasks.Type) *Type {
	t.Helper()
	c, err := New(typ)
	if err != nil {
		t.Fatal(err)
	}
	return c.Types()[0]
}

// answering is a type whose handler answers value.
func answering(value any) tasks.Type {
	return named("x").Handle(func(context.Context, *tasks.Job[greeting]) (any, error) { return value, nil })
}
