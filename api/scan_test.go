package api

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/job"
)

// sample is an object with a member of each kind.
type sample struct {
	text   string
	list   []string
	yes    bool
	number int
	raw    json.RawMessage
	inner  *sample
}

func (in *sample) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "text":
		s.str(&in.text, 1, 10)
	case "list":
		s.strs(&in.list, 1, 3)
	case "yes":
		s.boolean(&in.yes)
	case "number":
		s.integer(&in.number, -5, 5)
	case "raw":
		s.raw(&in.raw)
	case "inner":
		in.inner = new(sample)
		s.nested(in.inner)
	default:
		return false
	}
	return true
}

func TestWhatCannotBeReadIsMalformed(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, ` `, `null`, `[]`, `123`, `"x"`, `true`, `{}{}`, `{} x`, `{"text":"a"} // no`, "\xef\xbb\xbf{}", `{`,
		`{"text"`, `{"text":`,
		`{"text":"a`, `{"text":"a"`, `{"text":"a",}`, `{,}`, `{text:"a"}`, `{'text':"a"}`, `{"raw":NaN}`,
		`{"raw":Infinity}`,
		`{"raw":-}`, `{"raw":01}`, `{"raw":1.}`, `{"raw":.5}`, `{"raw":1e}`, `{"raw":+1}`, `{"raw":0x10}`,
		`{"raw":[1,]}`, `{"raw":[1 2]}`,
		`{/* no */}`, `{"raw":tru}`, `{"raw":nul}`, `{"raw":"\x41"}`, `{"raw":"\u12g4"}`, `{"raw":"\u12`,
		"{\"raw\":\"\x01\"}",
		"{\"raw\":\"a\nb\"}", "{\"raw\":\"\xff\"}", "{\"raw\":\"\xc3\"}", "{\"\xff\":1}", "{}\x00", "{\"raw\":\xa01}",
	} {
		if err := decode([]byte(body), new(sample)); job.CodeOf(err) != job.CodeMalformed {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestEveryMistakeIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting)
	for body, want := range map[string][]string{
		`{"state":1}`:                                           {"/state"},
		`{"TEXT":"a","Text":"b"}`:                               {"/TEXT", "/Text"},
		`{"text":"a","text":"b"}`:                               {"/text"},
		`{"text":"a","\u0074ext":"b"}`:                          {"/text"},
		`{"raw":{"a":1,"b":{"c":1,"c":2},"a":2}}`:               {"/raw/b/c", "/raw/a"},
		`{"text":1,"number":"3","yes":0,"list":"a","inner":[]}`: {"/text", "/number", "/yes", "/list", "/inner"},
		`{"text":"","number":6,"list":["a","long"]}`:            {"/text", "/number", "/list/1"},
		`{"number":1.5}`:                                        {"/number"},
		`{"number":1e0}`:                                        {"/number"},
		`{"number":99999999999999999999}`:                       {"/number"},
		`{"inner":{"inner":{"text":2}}}`:                        {"/inner/inner/text"},
		`{"raw":["\u0000"]}`:                                    {"/raw/0"},
		`{"raw":{"a\u0000":1}}`:                                 {"/raw"},
		`{"raw":"\ud800"}`:                                      {"/raw"},
		`{"raw":"\udc00"}`:                                      {"/raw"},
		`{"raw":"\ud800\ud800"}`:                                {"/raw", "/raw"},
		`{"raw":"\ud800\u0000"}`:                                {"/raw", "/raw"},
		`{"raw":[1e200000,1,-1e400,1e-99999]}`:                  {"/raw/0", "/raw/2", "/raw/3"},
		`{"raw":` + strings.Repeat("9", 1001) + `}`:             {"/raw"},
		`{"raw":0.` + strings.Repeat("9", 1001) + `}`:           {"/raw"},
		`{"raw":{"x":` + deep + `}}`:                            nil, // see below
		`{"a/b~c":1}`:                                           {"/a~1b~0c"},
		`{"raw":{` + manyKeys(40) + `,"k3":1,"k39":2}}`:         {"/raw/k3", "/raw/k39"},
		`{"raw":[{` + manyKeys(5) + `},{"k1":0,"k1":1}]}`:       {"/raw/1/k1"},
	} {
		var got []string
		var e *job.Error
		if err := decode([]byte(body), new(sample)); errors.As(err, &e) && e.Code == job.CodeInvalid {
			for _, f := range e.Fields {
				got = append(got, f.Pointer)
			}
		}
		if want == nil {
			if len(got) != 1 || strings.Count(got[0], "/") < 90 {
				t.Errorf("too deep: %v", got)
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.60s: %v, want %v", body, got, want)
		}
	}
}

func manyKeys(n int) string {
	var list []string
	for i := range n {
		list = append(list, `"k`+strconv.Itoa(i)+`":0`)
	}
	return strings.Join(list, ",")
}

func TestNullIsTheSameAsNothing(t *testing.T) {
	t.Parallel()
	in := sample{text: "kept"}
	if err := decode([]byte(`{"text":null,"list":null,"yes":null,"number":null,"inner":null,"raw":null}`),
		&in); err != nil {
		t.Fatal(err)
	}
	if in.text != "kept" || in.list != nil || string(in.raw) != "null" {
		t.Errorf("%+v", in)
	}
}

func TestValuesAreReadAndRawOnesKeptAsTheyStand(t *testing.T) {
	t.Parallel()
	raw := "{ \"a\":1.10,  \"b\":12345678901234567890,\n\"c\":\"<\\u00e9\\ud83d\\ude00>\" , " +
		"\"d\":[true,false,null,-0,1E+2]}"
	in := sample{}
	body := `{"text":"\u00e9\n","list":["a","b"],"yes":true,"number":-5,"raw":` + raw + ` ,"inner":{"number":5}}` +
		"\r\n\t "
	if err := decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	if in.text != "é\n" || !slices.Equal(in.list, []string{"a", "b"}) || !in.yes || in.number != -5 ||
		in.inner.number != 5 {
		t.Errorf("%+v", in)
	}
	if string(in.raw) != raw {
		t.Errorf("%s became %s", raw, in.raw)
	}
}

func TestNoMoreThanAHundredMistakesAreNamed(t *testing.T) {
	t.Parallel()
	var e *job.Error
	if err := decode([]byte(`{"raw":[`+strings.Repeat(`"\u0000",`, 5000)+`1]}`), new(sample)); !errors.As(err, &e) ||
		len(e.Fields) != maxReported {
		t.Errorf("%d mistakes", len(e.Fields))
	}
}

// FuzzScanner holds the scanner against encoding/json. Whatever the bytes:
//   - what the scanner takes, encoding/json takes too, and both see the same strings and keep the same bytes;
//   - what the scanner calls malformed is no JSON object in UTF-8;
//   - a mistake's pointer is never longer than its path could be, and always valid UTF-8.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{`{}`, `{"raw":1}`, `{"raw":{"a":[1,2.5e3,"x\u00e9\ud83d\ude00"],"b":null}}`,
		`{"raw":"\ud800"}`,
		`{"raw":{"a":1,"a":2}}`, `{"raw":[[[[]]]]}`, `{"raw":1e999}`, ` {"raw" : true } `, `{"raw":-0.0e-0}`,
		"{\"raw\":\"\xff\"}", `{}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in sample
		err := decode(body, &in)
		object := map[string]json.RawMessage{}
		valid := json.Unmarshal(body, &object) == nil && utf8.Valid(body) && object != nil
		var e *job.Error
		switch {
		case err == nil && !valid:
			t.Fatalf("%q is taken", body)
		case err == nil:
			if in.raw != nil && string(in.raw) != strings.TrimSpace(string(object["raw"])) {
				t.Fatalf("%q keeps %q, encoding/json %q", body, in.raw, object["raw"])
			}
			var text string
			if _ = json.Unmarshal(object["text"], &text); in.text != text {
				t.Fatalf("%q reads %q, encoding/json %q", body, in.text, text)
			}
		case !errors.As(err, &e) || e.Code != job.CodeMalformed && e.Code != job.CodeInvalid:
			t.Fatalf("%q: %v", body, err)
		case e.Code == job.CodeMalformed && valid:
			t.Fatalf("%q is refused: %v", body, err)
		}
		if e != nil {
			for _, m := range e.Fields {
				if !utf8.ValidString(m.Pointer) || len(m.Pointer) > (maxNesting+1)*(2*maxPathShown+1) {
					t.Fatalf("%q: pointer %q", body, m.Pointer)
				}
			}
		}
	})
}

// FuzzString holds the writer against encoding/json: what it writes reads back as the same text,
// made valid.
func FuzzString(f *testing.F) {
	for _, seed := range []string{"", "a\"b\\c", "\x00\x1f\x7f\n", "é😀<&>", "\xff\xc3", "\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got string
		if err := json.Unmarshal(appendString(nil, text), &got); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(text)); got != want {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

var benchBody = []byte(
	`{"type":"debug.echo","payload":{"order":17,"lines":[{"sku":"A-1","n":2},{"sku":"B-2","n":1}],"note":"Grüße"},` +
		`"queue":"critical","delay":"90s","max_retries":5,"timeout":"30s","labels":{"customer":"4711"}}`,
)

func BenchmarkScan(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchBody)))
	for b.Loop() {
		if err := decode(benchBody, newCreateJob(earliest)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingJSON is what a strict reader made of the standard library would cost at least.
func BenchmarkEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchBody)))
	for b.Loop() {
		var in struct {
			Type, Queue, Delay, Timeout string
			Payload                     json.RawMessage
			MaxRetries                  int `json:"max_retries"`
			Labels                      map[string]string
		}
		d := json.NewDecoder(strings.NewReader(string(benchBody)))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			b.Fatal(err)
		}
	}
}
