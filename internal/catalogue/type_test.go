package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

type order struct {
	URL    string            `json:"url" jsonschema:"minLength=1,maxLength=5" jsonschema_description:"u"`
	Kind   string            `json:"kind,omitempty" jsonschema:"enum=a,enum=b" jsonschema_description:"k"`
	Count  int               `json:"count,omitempty" jsonschema:"minimum=1,maximum=9" jsonschema_description:"c"`
	Tags   []string          `json:"tags,omitempty" jsonschema:"maxItems=2" jsonschema_description:"t"`
	Labels map[string]string `json:"labels,omitempty" jsonschema_description:"l"`
	Key    string            `json:"key,omitempty" jsonschema:"pattern=^[a-z]+$" jsonschema_description:"s"`
}

func orderType(t testing.TB) *Type {
	t.Helper()
	return compiled(t, tasks.Definition[order, any]{
		Name:    "order",
		Example: order{URL: "x"},
		Check: func(o order) []tasks.FieldError {
			if o.URL != "" && o.URL[0] == '!' {
				return []tasks.FieldError{{Pointer: "/url", Detail: "must not start with !"}}
			}
			return nil
		},
	})
}

func TestCheckNamesEveryMistakeByItsPointer(t *testing.T) {
	t.Parallel()
	typ := orderType(t)
	for _, c := range []struct{ payload, want string }{
		{`{"url":"x"}`, ``},
		{``, `/payload is required`},
		{`{"url":`, `/payload must be valid JSON`},
		{`null`, `/payload must be an object`},
		{`[]`, `/payload must be an object`},
		{`{}`, `/payload/url is required`},
		{`{"url":""}`, `/payload/url must not be empty`},
		{`{"url":"x","URL":"y"}`, `/payload/URL is not a known field`},
		{`{"url":"x","a/b~c":1}`, `/payload/a~1b~0c is not a known field`},
		{`{"url":"x","kind":"c"}`, `/payload/kind must be one of a, b`},
		{`{"url":"x","count":"3"}`, `/payload/count must be a whole number`},
		{`{"url":"x","count":1.5}`, `/payload/count must be a whole number`},
		{`{"url":"x","count":10}`, `/payload/count must be at most 9`},
		{`{"url":"x","tags":["a",2,"c"]}`, `/payload/tags must have at most 2 items; /payload/tags/1 must be a string`},
		{`{"url":"x","labels":{"a":1,"b":"","c":null}}`,
			`/payload/labels/a must be a string; /payload/labels/c must be a string`},
		{`{"url":"x","labels":null}`, `/payload/labels must be an object`},
		{`{"count":0,"more":1,"url":"123456"}`,
			`/payload/count must be at least 1; /payload/more is not a known field; /payload/url must have at most 5 characters`},
		{`{"url":"!","more":1}`, `/payload/more is not a known field; /payload/url must not start with !`},
		{`{"url":"!23456"}`, `/payload/url must have at most 5 characters`},
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(c.payload))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.payload, got, c.want)
		}
	}
}

// fieldsOf writes a refusal as "pointer detail; …"; nil is empty.
func fieldsOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *job.Error
	if !errors.As(err, &e) || e.Code != job.CodeInvalid {
		t.Fatalf("refused with %v, not with a job.Error of code invalid", err)
	}
	var all []string
	for _, f := range e.Fields {
		all = append(all, f.Pointer+" "+f.Detail)
	}
	return strings.Join(all, "; ")
}

func TestCheckNeverRepeatsAValue(t *testing.T) {
	t.Parallel()
	err := orderType(
		t,
	).Check(json.RawMessage(`{"url":"TOPSECRET","kind":"TOPSECRET","key":"TOPSECRET","count":"TOPSECRET","tags":"TOPSECRET"}`))
	if got := fieldsOf(t, err); strings.Contains(got+err.Error(), "TOPSECRET") || strings.Count(got, ";") != 4 {
		t.Errorf("got %s", got)
	}
}

func TestCheckIsBoundedWhateverComes(t *testing.T) {
	t.Parallel()
	typ := orderType(t)
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, `,"f%d":1`, i)
	}
	start := time.Now()
	for _, payload := range []string{
		`{"url":"x"` + many.String() + `}`,
		`{"url":"x","` + strings.Repeat("k", 200<<10) + `":1}`,
		`{"url":"x","count":1e999999999}`,
		`{"url":"x","count":1e1000000}`,
		`{"url":"x","count":-1e-999999999}`,
		`{"url":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	} {
		var e *job.Error
		if err := typ.Check(json.RawMessage(payload)); !errors.As(err, &e) {
			t.Fatalf("%.60s: %v", payload, err)
		}
		if len(e.Fields) > maxMistakes {
			t.Errorf("%.60s: %d mistakes named", payload, len(e.Fields))
		}
		for _, f := range e.Fields {
			if len(f.Pointer) > maxPointer {
				t.Errorf("%.60s: a pointer of %d bytes", payload, len(f.Pointer))
			}
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("checking took %v", took)
	}
}

func TestRunKeepsRawResultsByteForByteAndEncodesOthers(t *testing.T) {
	t.Parallel()
	var typed *greeting
	for _, c := range []struct {
		value any
		want  string
	}{
		{nil, ``},
		{tasks.None{}, ``},
		{json.RawMessage(nil), ``},
		{json.RawMessage(`{"a": 1.10,  "b":12345678901234567890}`), `{"a": 1.10,  "b":12345678901234567890}`},
		{greeting{"<Ann> & Bob"}, `{"name":"<Ann> & Bob"}`},
		{typed, `null`},
		{[]int{1}, `[1]`},
	} {
		got, err := compiled(t, answering(c.value)).Run(t.Context(), &job.Job{Payload: json.RawMessage(`{"name":"x"}`)})
		if err != nil || string(got) != c.want || (c.want == "") != (got == nil) {
			t.Errorf("%v: got %s, %v", c.value, got, err)
		}
	}
}

func TestAResultThatCannotBeKeptIsPermanent(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"too large":     strings.Repeat("x", job.MaxResult),
		"raw too large": json.RawMessage(`"` + strings.Repeat("x", job.MaxResult) + `"`),
		"no JSON":       json.RawMessage(`{`),
		"empty raw":     json.RawMessage{},
		"no UTF-8":      json.RawMessage("\"\xff\""),
		"no number":     math.NaN(),
	} {
		_, err := compiled(t, answering(value)).Run(t.Context(), &job.Job{Payload: json.RawMessage(`{"name":"x"}`)})
		if !tasks.IsPermanent(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRunHandsOverTheJobAndPassesErrorsOn(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	id, owner := job.NewID(), job.NewID()
	typ := compiled(t, named("x").Handle(func(_ context.Context, j *tasks.Job[greeting]) (any, error) {
		return nil, fmt.Errorf(
			"%s %s %s %d %d %d: %w",
			j.Payload.Name,
			j.ID,
			j.OwnerID,
			j.Attempt,
			j.Failures,
			j.MaxRetries,
			boom,
		)
	}))
	j := &job.Job{ID: id, OwnerID: owner, Attempt: 3, Failures: 2, Payload: json.RawMessage(`{"name":"Ann"}`)}
	j.MaxRetries = 7
	_, err := typ.Run(t.Context(), j)
	if want := fmt.Sprintf("Ann %s %s 3 2 7: boom", id, owner); !errors.Is(err, boom) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAPayloadOfAnotherVersionIsRetriedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{"name":"SECRET","since_v2":"SECRET"}`, `{"name":["SECRET"]}`, `{`, ``} {
		_, err := compiled(t, answering(nil)).Run(t.Context(), &job.Job{Payload: json.RawMessage(payload)})
		if !errors.Is(err, tasks.ErrUnreadable) || tasks.IsPermanent(err) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: got %v", payload, err)
		}
	}
}

type (
	orderV1 struct {
		Address string `json:"address"`
	}
	orderV2 struct {
		Target string `json:"target" jsonschema:"minLength=1"`
	}
)

func TestAFormerPayloadIsTakenAndTurnedIntoTodays(t *testing.T) {
	t.Parallel()
	var got []string
	typ := compiled(t, tasks.Definition[order, any]{Name: "order", Former: []tasks.Former[order]{
		tasks.From(func(o orderV2) order { return order{URL: "2" + o.Target} }),
		tasks.From(func(o orderV1) order { return order{URL: "1" + o.Address} }),
	}}.Handle(func(_ context.Context, j *tasks.Job[order]) (any, error) {
		got = append(got, j.Payload.URL)
		return nil, nil
	}))
	for _, payload := range []string{`{"url":"x"}`, `{"target":"y"}`, `{"address":"z"}`} {
		if err := typ.Check(json.RawMessage(payload)); err != nil {
			t.Errorf("%s was refused: %s", payload, fieldsOf(t, err))
		}
		if _, err := typ.Run(t.Context(), &job.Job{Payload: json.RawMessage(payload)}); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
	if want := []string{"x", "2y", "1z"}; !slices.Equal(got, want) {
		t.Errorf("handled %v, want %v", got, want)
	}
	// The mistakes are those of today's form.
	if got := fieldsOf(t, typ.Check(json.RawMessage(`{"target":""}`))); got != "/payload/target is not a known "+
		"field; /payload/url is required" {
		t.Errorf("got %s", got)
	}
	if strings.Contains(string(typ.Schema), "target") {
		t.Errorf("a former payload is in the schema: %s", typ.Schema)
	}
}
