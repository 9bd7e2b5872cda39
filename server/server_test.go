package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/server/servertest"
	"github.com/waybill/waybill/tasks"
)

type greeting struct {
	Name string `json:"name"`
}

var greet = tasks.Definition[greeting, string]{Name: "greeting.make"}

func makeGreeting(_ context.Context, j *tasks.Job[greeting]) (string, error) {
	return "hello " + j.Payload.Name, nil
}

// events are noted by handlers and middlewares, in order.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, name)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.list, " ")
}

func (e *events) middleware(name string) tasks.Middleware {
	return func(next tasks.RawFunc) tasks.RawFunc {
		return func(ctx context.Context, info tasks.Info, payload json.RawMessage) (json.RawMessage, error) {
			e.add(name)
			return next(ctx, info, payload)
		}
	}
}

func TestSetupHandlesWhatIsOffered(t *testing.T) {
	t.Parallel()
	seen := new(events)
	calls := prometheus.NewCounter(prometheus.CounterOpts{Name: "greetings_total", Help: "Greetings made."})
	s := server.New(greet).
		Use(seen.middleware("outer"), seen.middleware("inner")).
		Setup(func(_ context.Context, e *server.Env) error {
			e.OnStop(func(context.Context) error { seen.add("stopped last"); return nil })
			e.OnStop(func(context.Context) error { seen.add("stopped first"); return nil })
			e.Handle(greet.Handle(func(ctx context.Context, j *tasks.Job[greeting]) (string, error) {
				calls.Inc()
				tasks.Log(ctx).Info("greeting")
				return makeGreeting(ctx, j)
			}))
			return e.Metrics().Register(calls)
		})
	t.Run("deployment", func(t *testing.T) {
		d := servertest.Start(t, s)
		j, err := client.Submit(t.Context(), d, greet, greeting{"Ann"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := j.Wait(t.Context()); err != nil || got != "hello Ann" {
			t.Errorf("got %q, %v", got, err)
		}
		if got := seen.String(); got != "outer inner" {
			t.Errorf("the middlewares ran as %q", got)
		}
		if text := get(t, d.URL()+"/metrics"); !strings.Contains(text, "\ngreetings_total 1\n") {
			t.Error("the program's own metric is not shown")
		}
	})
	if got := seen.String(); got != "outer inner stopped first stopped last" {
		t.Errorf("after the end: %q", got)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMistakesOfTypesKeepTheProgramFromStarting(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		s    *server.Server
		says string
	}{
		"a bad name": {server.New(tasks.Definition[greeting, string]{Name: "Greeting"}),
			`task type "Greeting": the name must match`},
		"a name twice": {server.New(greet.Handle(makeGreeting),
			tasks.Definition[struct{}, string]{Name: greet.Name}.Handle(nil)), "is there twice"},
		"a list": {server.New(tasks.Definition[[]string, string]{Name: "a.list"}), "not a JSON object"},
		"in Setup": {server.New().Setup(func(_ context.Context,
			e *server.Env) error {
			e.Handle(tasks.Definition[int, int]{})
			return nil
		}), "the name must match"},
		"Setup's failure": {server.New().Setup(func(context.Context,
			*server.Env) error {
			return errors.New("no such host")
		}), "no such host"},
	} {
		var errs bytes.Buffer
		code := test.s.Run(
			t.Context(),
			[]string{"dev", "--addr", "127.0.0.1:0", "--data", t.TempDir()},
			nil,
			io.Discard,
			&errs,
		)
		if code != 1 || !strings.Contains(errs.String(), test.says) {
			t.Errorf("%s: code %d: %s", name, code, errs.String())
		}
	}
}

func TestAProgramHasEveryCommand(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if code := server.New().Run(t.Context(), []string{"--help"}, nil, &out, &out); code != 0 {
		t.Fatalf("code %d: %s", code, &out)
	}
	for _, name := range []string{"dev", "api", "worker", "migrate up", "admin create", "fsck", "jobs submit", "bench",
		"login", "completion"} {
		if !strings.Contains(out.String()+" ", "\n  "+name) {
			t.Errorf("there is no command %s:\n%s", name, &out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out.Reset()
		if code := server.New().Run(t.Context(), []string{"completion", shell}, nil, &out, &out); code != 0 ||
			!strings.Contains(out.String(), "submit") {
			t.Errorf("completion %s: code %d: %s", shell, code, &out)
		}
	}
}
