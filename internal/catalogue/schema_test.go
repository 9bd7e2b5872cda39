package catalogue

import (
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/tasks"
)

type node struct {
	Value    string           `json:"value" jsonschema:"minLength=1"`
	Left     *node            `json:"left,omitempty"`
	Children []node           `json:"children,omitempty"`
	ByName   map[string]*node `json:"by_name,omitempty"`
}

type branch struct {
	Leaves []leaf `json:"leaves"`
}

type leaf struct {
	Of *branch `json:"of,omitempty"`
}

// colour and moment encode themselves.
type colour int

func (k *colour) UnmarshalText(text []byte) error {
	*k = map[string]colour{"a": 1, "b": 2}[string(text)]
	if *k == 0 {
		return errors.New("no such colour: " + string(text))
	}
	return nil
}

func (k colour) MarshalText() ([]byte, error) { return []byte("a"), nil }

type moment struct{ at time.Time }

func (m *moment) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &m.at) }

type base struct {
	Tenant string `json:"tenant" jsonschema:"pattern=^[a-z]+$"`
}

// form is what a user's payload may look like.
type form struct {
	base
	Mail   string                `json:"mail" jsonschema:"format=email" jsonschema_description:"To."`
	Site   string                `json:"site,omitempty" jsonschema:"format=uri"`
	Day    string                `json:"day,omitempty" jsonschema:"format=date"`
	Due    *time.Time            `json:"due,omitempty"`
	At     time.Time             `json:"at,omitzero"`
	Small  int8                  `json:"small,omitempty"`
	Count  uint                  `json:"count,omitempty"`
	Ratio  float64               `json:"ratio,omitempty" jsonschema:"minimum=0,exclusiveMaximum=1"`
	Exact  json.Number           `json:"exact,omitempty"`
	Blob   []byte                `json:"blob,omitempty"`
	Wait   time.Duration         `json:"wait,omitempty"`
	Kind   colour                `json:"kind,omitempty"`
	From   netip.Addr            `json:"from,omitzero"`
	Moment *moment               `json:"moment,omitempty"`
	Any    any                   `json:"any,omitempty"`
	Open   map[string]any        `json:"open,omitempty"`
	ByID   map[int]string        `json:"by_id,omitempty"`
	Pair   [2]int                `json:"pair,omitempty"`
	Size   int                   `json:"size,omitempty" jsonschema:"enum=1,enum=2,enum=3"`
	Nested struct{ Deep string } `json:"nested,omitempty"`
	Hidden chan int              `json:"-"`
	Rows   []base                `json:"rows,omitempty" jsonschema:"minItems=1,maxItems=2"`
	//lint:ignore U1000 a field that encoding/json passes over, and the schema with it
	private func()
}

func typeOf[P any](t *testing.T) *Type {
	t.Helper()
	return compiled(t, tasks.Definition[P, any]{Name: "x"})
}

func TestAPayloadMayReferToItself(t *testing.T) {
	t.Parallel()
	typ := typeOf[node](t)
	var schema struct{ Type string }
	if err := json.Unmarshal(typ.Schema, &schema); err != nil || schema.Type != "object" ||
		!strings.Contains(string(typ.Schema), `"$defs"`) {
		t.Errorf("the schema is %s", typ.Schema)
	}
	for payload, want := range map[string]string{
		`{"value":"a","left":{"value":"b","children":[{"value":"c","by_name":{"x":{"value":"d"}}}]}}`: ``,
		`{"value":"a","left":{"value":""}}`:                                        `/payload/left/value must not be empty`,
		`{"value":"a","children":[{"value":"b"},{"value":"c","left":{"more":1}}]}`: `/payload/children/1/left/more is not a known field; /payload/children/1/left/value is required`,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(payload))); got != want {
			t.Errorf("%s\n got %s\nwant %s", payload, got, want)
		}
	}
	if got := fieldsOf(t, typeOf[branch](t).Check(json.RawMessage(`{"leaves":[{"of":{"leaves":[{"of":{}}]}}]}`))); got != `/payload/leaves/0/of/leaves/0/of/leaves is required` {
		t.Errorf("through another type: %s", got)
	}
}

func TestAPayloadThatJSONCannotCarryIsRefusedByName(t *testing.T) {
	t.Parallel()
	for want, register := range map[string]func() error{
		"Done is a chan int":         refused[struct{ Done chan int }],
		"Each[].Then is a func()":    refused[struct{ Each []struct{ Then func() } }],
		"Link is a url.URL":          refused[struct{ Link *url.URL }],
		"By is a map by bool":        refused[struct{ By map[bool]int }],
		"In is the interface error":  refused[struct{ In error }],
		"Z is a complex128":          refused[struct{ Z complex128 }],
		"its payload is not a JSON":  refused[[]string],
		"payload is not a JSON obje": refused[*int],
	} {
		err := register()
		if err == nil || !strings.Contains(err.Error(), `"bad.type"`) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q named, got %v", want, err)
		}
	}
}

func refused[P any]() error {
	_, err := New(tasks.Definition[P, any]{Name: "bad.type"})
	return err
}

func TestEveryDocumentedTagIsCheckedAtSubmission(t *testing.T) {
	t.Parallel()
	typ := typeOf[form](t)
	const good = `"tenant":"acme","mail":"ann@example.com"`
	for member, want := range map[string]string{
		``: ``,
		`,"site":"https://example.com/","day":"2026-02-28","due":"2026-11-28T03:00:00.5+01:00","at":"2026-11-28T03:00:00Z"`: ``,
		`,"small":127,"count":0,"ratio":0.5,"exact":12345678901234567890.10,"blob":"aGk=","wait":1000000000,"kind":"b"`:     ``,
		`,"from":"2001:db8::1","moment":"2026-11-28T03:00:00Z","any":[1,{}],"open":{"a":null},"by_id":{"7":"x"}`:            ``,
		`,"pair":[1,2],"size":2,"nested":{"Deep":"x"},"rows":[{"tenant":"a"}]`:                                              ``,
		`,"site":"not a uri"`:             `/payload/site must be a valid uri`,
		`,"day":"2026-02-30"`:             `/payload/day must be a valid date`,
		`,"due":"tomorrow"`:               `/payload/due must be a valid date-time`,
		`,"at":"2026-11-28"`:              `/payload/at must be a valid date-time`,
		`,"small":128`:                    `/payload/small is out of range, or not of the form that is wanted (int8)`,
		`,"count":-1`:                     `/payload/count is out of range, or not of the form that is wanted (uint)`,
		`,"ratio":1`:                      `/payload/ratio does not fit the schema's exclusiveMaximum`,
		`,"blob":"%"`:                     `/payload holds a value that is not of the form that its field wants`,
		`,"kind":"c"`:                     `/payload holds a value that is not of the form that its field wants`,
		`,"kind":1`:                       `/payload/kind must be a string`,
		`,"from":"nowhere"`:               `/payload holds a value that is not of the form that its field wants`,
		`,"moment":"never"`:               `/payload holds a value that is not of the form that its field wants`,
		`,"by_id":{"x":"y"}`:              `/payload/by_id/x is not a known field`,
		`,"pair":[1]`:                     `/payload/pair must have at least 2 items`,
		`,"size":4`:                       `/payload/size must be one of 1, 2, 3`,
		`,"rows":[{"tenant":"A"}]`:        `/payload/rows/0/tenant must match ^[a-z]+$`,
		`,"hidden":1`:                     `/payload/hidden is not a known field`,
		`,"due":"2026-11-28T03:00:60.5Z"`: `/payload/due must be a valid date-time`,
	} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(`{`+good+member+`}`))); got != want {
			t.Errorf("%s\n got %s\nwant %s", member, got, want)
		}
	}
	if got := fieldsOf(t, typ.Check(json.RawMessage(`{"tenant":"A","mail":"ann"}`))); got != `/payload/mail must be a valid email; /payload/tenant must match ^[a-z]+$` {
		t.Errorf("got %s", got)
	}
}

func TestASchemaLoadsNothing(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(`{"const":"TOPSECRET"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{
		`{"$ref":"file://` + secret + `"}`, `{"type":"object","properties":{"a":{"$ref":"file://` + secret + `"}}}`,
		`{"$id":"file://` + secret + `","$ref":"secret.json"}`, `{"$id":"file:///etc/","$ref":"passwd"}`,
		`{"$ref":"http://127.0.0.1:1/x"}`,
		`{"$schema":"file://` + secret + `"}`, `{"$schema":"http://127.0.0.1:1/"}`, `{"$dynamicRef":"#a"}`,
		`{"$recursiveRef":"#"}`,
		`{"$ref":"other"}`, `{"$ref":"#anchor"}`, `{"$ref":"#/nowhere"}`, `{"$ref":"#/allOf/9","allOf":[true]}`,
		`{"properties":{"$ref":{"$ref":"file://` + secret + `"}}}`,
	} {
		if _, err := compile(json.RawMessage(schema)); err == nil || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v", schema, err)
		}
	}
	for _, schema := range []string{`{"$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}}`,
		`{"properties":{"a":{"$ref":"#"}}}`, `true`,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"$ref":{"type":"string"},"$id":{"type":"string"}}}`} {
		if _, err := compile(json.RawMessage(schema)); err != nil {
			t.Errorf("%s: %v", schema, err)
		}
	}
}

func TestASchemaIsBounded(t *testing.T) {
	t.Parallel()
	doubled := `{"$ref":"#/$defs/l0","$defs":{`
	for i := range 20 {
		n, next := string(rune('0'+i/10))+string(rune('0'+i%10)), i+1
		doubled += `"l` + strings.TrimPrefix(
			n,
			"0",
		) + `":{"allOf":[{"$ref":"#/$defs/l` + itoa(
			next,
		) + `"},{"$ref":"#/$defs/l` + itoa(
			next,
		) + `"}]},`
	}
	doubled = strings.ReplaceAll(doubled, `"l":`, `"l0":`) + `"l20":{"type":"object"}}}`
	for name, schema := range map[string]string{
		"doubled twenty times": doubled,
		"deep":                 strings.Repeat(`{"not":`, 100) + `true` + strings.Repeat(`}`, 100),
		"large":                `{"description":"` + strings.Repeat("x", maxSchema) + `"}`,
		"wide":                 `{"allOf":[` + strings.Repeat(`{},`, 15_000) + `{}]}`,
	} {
		start := time.Now()
		if _, err := compile(json.RawMessage(schema)); err == nil {
			t.Errorf("%s was taken", name)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v to refuse", name, took)
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestTypesOfOneNameInSeveralPackagesAreToldApart(t *testing.T) {
	t.Parallel()
	type node struct {
		Other *struct{ Inner *node } `json:"other,omitempty"`
	}
	name := namer()
	if a, b := name(reflect.TypeFor[node]()), name(nodeType()); a == b || name(reflect.TypeFor[node]()) != a {
		t.Errorf("two types are called %s and %s", a, b)
	}
}

func nodeType() reflect.Type { return reflect.TypeFor[node]() }
