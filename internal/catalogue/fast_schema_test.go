package catalogue

import (
	"encoding/json"
	"log/slog"
	"runtime"
	"testing"

	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin"
)

// judged are payload types whose schemas together use every keyword that fit knows.
func judged(t testing.TB) map[string]*Type {
	t.Helper()
	types := map[string]*Type{}
	add := func(name string, text json.RawMessage) {
		schema, err := compile(text)
		if err != nil {
			t.Fatal(err)
		}
		types[name] = &Type{Name: name, Schema: text, schema: schema, fast: newFastSchema(text)}
		if types[name].fast == nil {
			t.Fatalf("%s cannot be judged by its bytes: %s", name, text)
		}
	}
	for _, typ := range builtinTypes(t) {
		text, _, err := schemaOf(typ.Spec().Payload)
		if err != nil {
			t.Fatal(err)
		}
		add(typ.Spec().Name, text)
	}
	add(
		"all",
		json.RawMessage(
			`{"type":"object","title":"T","additionalProperties":{"type":"boolean"},"required":["n","s"],"properties":{`+
				`"n":{"type":"number"},"m":{"type":"number","minimum":-3,"maximum":7},"i":{"type":"integer"},"s":{"type":"string","enum":["a","é"],"default":"a"},`+
				`"x":true,"y":false,"l":{"type":"array","items":{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}}},"o":{"type":"object","required":["k"]}}}`,
		),
	)
	return types
}

// builtinTypes are all types that come with Waybill.
func builtinTypes(t testing.TB) []tasks.Type {
	t.Helper()
	cfg := builtin.Config{SMTP: builtin.SMTPConfig{Addr: "mail.example.com:587", From: "shop@example.com"}}
	if runtime.GOOS == "linux" {
		cfg.Command.Allow = map[string]string{"report": "/usr/local/bin/report"}
	}
	types, err := builtin.Types(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func TestBuiltinTypesAreJudgedByTheirBytes(t *testing.T) {
	t.Parallel()
	c, err := New(builtinTypes(t)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"debug.echo", "debug.fail", "debug.sleep", "http.request", "command.run"} {
		if typ, ok := c.Lookup(name); !ok || typ.fast == nil || !typ.fast.accepts(typ.Example) {
			t.Errorf("%s is left to the validator", name)
		}
	}
}

var payloads = []string{
	`{}`, `{"a":1}`, ` {"url" : "https://example.com" , "body" : [1, {"a":"}"}, null] }`,
	`{"url":"x","method":"PUT","headers":{"A":"b"}}`,
	`{"url":"x","method":"put"}`, `{"url":"x","headers":{"A":1}}`,
	`{"url":"x","body":{"u":"\"]}"},"secret":"whsec_0123456789012345678901234567890123456789"}`,
	`{"\u0075rl":"x"}`, `{"url":"\u0041"}`, `{"url":"x","more":1}`, `{"url":"x","URL":"y"}`, `{"url":null}`,
	`{"url":"","url":"x"}`, `{"url":"x","url":""}`,
	`{"to":["ann@example.com"],"subject":"s"}`, `{"to":[],"subject":"s"}`, `{"to":["a"],"subject":"s"}`,
	`{"to":"ann@example.com","subject":"s"}`,
	`{"to":["ann@example.com"],"subject":"` + "\xff\xfe" + `"}`, `{"subject":"s"}`,
	`{"command":"ls","args":["-l",""],"env":{"A":"b"}}`, `{"command":"","args":[]}`, `{"command":"ls","args":[1]}`,
	`{"times":3,"permanent":true}`, `{"times":-1}`, `{"times":1001}`, `{"times":1.0}`, `{"times":1e2}`,
	`{"times":3,"panic":1}`, `{"times":99999999999999999999}`,
	`{"n":1,"s":"a"}`, `{"n":-0.5e9,"s":"é","i":-0,"m":7,"x":{},"l":[[1],[2,3]],"o":{"k":[]},"z":true}`,
	`{"n":1,"s":"b"}`, `{"n":1,"s":"a","m":8}`,
	`{"n":1,"s":"a","m":7.5}`, `{"n":1,"s":"a","y":1}`, `{"n":1,"s":"a","l":[[]]}`, `{"n":1,"s":"a","l":[[-1]]}`,
	`{"n":1,"s":"a","o":{}}`, `{"n":1,"s":"a","z":0}`,
	`{"n":"1","s":"a"}`, `[]`, `[{}]`, `"x"`, `1`, `null`, `true`, `{"a":{"b":{"c":[[[{}]]]}}}`,
}

// FuzzFit holds the judgement by bytes against the validator: what it lets through, the validator
// would have.
func FuzzFit(f *testing.F) {
	types := judged(f)
	for _, p := range payloads {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			return
		}
		for name, typ := range types {
			if !typ.fast.accepts(payload) {
				continue
			}
			if fields, readable := checkSchema(typ.schema, payload); !readable || len(fields) > 0 {
				t.Errorf("%s: %q passes, but the validator says %v", name, payload, fields)
			}
		}
	})
}

func TestWhatIsRightIsJudgedByItsBytes(t *testing.T) {
	t.Parallel()
	types := judged(t)
	right := 0
	for _, payload := range payloads {
		for name, typ := range types {
			fields, _ := checkSchema(typ.schema, json.RawMessage(payload))
			if len(fields) > 0 {
				continue
			}
			right++
			switch payload { // these are rare enough for the validator
			case `{"\u0075rl":"x"}`,
				`{"url":"\u0041"}`,
				`{"url":"","url":"x"}`,
				`{"times":1.0}`,
				`{"times":1e2}`,
				`{"n":1,"s":"a","m":7.5}`:
				continue
			}
			if !typ.fast.accepts([]byte(payload)) {
				t.Errorf("%s: %s fits, but not by its bytes", name, payload)
			}
		}
	}
	if right < 30 {
		t.Errorf("only %d payloads fit anything", right)
	}
}

func TestASchemaThatSaysMoreIsLeftToTheValidator(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"type":"string","pattern":"^a$"}`, `{"type":"object","properties":{"a":{"format":"email"}}}`,
		`{"type":["string","null"]}`, `{"minLength":3}`,
		`{"type":"object","enum":["a"]}`, `{"enum":[1]}`, `{"type":"string","enum":[1]}`,
		`{"type":"array","required":["a"]}`, `{"type":"null"}`, `{"type":"integer","minimum":0.5}`,
		`{"type":"object","additionalProperties":{"anyOf":[true]}}`, `{"type":"array","items":[true]}`, `{"not":{}}`,
		`{"type":"string","items":true}`, `{"type":"string","minimum":1}`,
	} {
		if newFastSchema(json.RawMessage(schema)) != nil {
			t.Errorf("%s is judged by bytes", schema)
		}
	}
}
