package app_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
)

const echo = `{"type":"debug.echo","payload":{}}`

// with is a job to submit with a few more members.
func with(members string) string { return `{"type":"debug.echo","payload":{},` + members + `}` }

// bodyRoutes are the routes that take a JSON object, each with one that it takes.
func bodyRoutes(b *bench) map[string]ask {
	return map[string]ask{
		"/v1/jobs":          {as: b.admin.key, body: echo},
		"/v1/auth/login":    {body: credentials(b.admin.Email, b.admin.password)},
		"/v1/auth/register": {body: credentials("new@example.com", "a new password")},
		"/v1/auth/refresh":  {body: `{"refresh_token":"` + b.admin.refresh + `"}`},
		"/v1/auth/logout":   {body: `{"refresh_token":"x"}`},
		"/v1/api-keys":      {as: b.admin.access, body: `{"name":"k"}`},
		"/v1/users": {
			as:   b.admin.access,
			body: `{"email":"made@example.com","password":"a new password","role":"user"}`,
		},
		"/v1/me/password": {as: b.admin.access, body: `{"current_password":"x","new_password":"another password"}`},
	}
}

func TestBodiesThatCannotBeReadAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.token(b.admin)
	broken := map[string]string{
		"empty":                  "",
		"white space":            " \n\t ",
		"null":                   "null",
		"a list":                 "[]",
		"a number":               "123",
		"a text":                 `"x"`,
		"true":                   "true",
		"two objects":            "{}{}",
		"the BOM":                "\xef\xbb\xbf{}",
		"cut off":                `{"a":`,
		"cut off in a text":      `{"a":"b`,
		"cut off in an escape":   `{"a":"\u00`,
		"a comment":              `{} // x`,
		"a comment within":       `{/* x */}`,
		"NaN":                    `{"a":NaN}`,
		"Infinity":               `{"a":-Infinity}`,
		"a hexadecimal number":   `{"a":0x1}`,
		"a leading zero":         `{"a":01}`,
		"a leading plus":         `{"a":+1}`,
		"a bare key":             `{a:1}`,
		"single quotes":          `{'a':1}`,
		"a trailing comma":       `{"a":1,}`,
		"a missing comma":        `{"a":1 "b":2}`,
		"a line break in a text": "{\"a\":\"b\nc\"}",
		"NUL":                    "{\"a\":\x00}",
		"UTF-16":                 "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
		"a closing bracket":      "}",
		"form data":              "type=debug.echo&payload=x",
		"XML":                    "<type>debug.echo</type>",
	}
	for path, good := range bodyRoutes(b) {
		for name, body := range broken {
			to := good
			to.method, to.path, to.body = "POST", path, body
			b.try([]input{{path + " " + name, to, 400, "malformed"}})
		}
		for name, body := range map[string]string{"text after it": good.body + "x", "another after it": good.body +
			good.body,
			"the BOM before it": "\xef\xbb\xbf" + good.body,
			"invalid UTF-8":     strings.Replace(good.body, `"}`, "\xff\"}", 1)[:len(good.body)-1] + "\xff"} {
			to := good
			to.method, to.path, to.body = "POST", path, body
			b.try([]input{{path + " " + name, to, 400, "malformed"}})
		}
	}
	for name, body := range broken {
		switch name {
		case "a list":
			b.try(
				[]input{
					{
						"batch " + name,
						ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: body},
						422,
						"no jobs",
					},
				},
			)
		default:
			b.try(
				[]input{
					{
						"batch " + name,
						ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: body},
						400,
						"malformed",
					},
				},
			)
		}
	}
	if n := b.count(`SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestOnlyPlainJSONIsTakenEverywhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.token(b.admin)
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = w.Write([]byte(`{"type":"debug.echo","payload":{"a":"`))
	_, _ = w.Write(bytes.Repeat([]byte("x"), 64<<20))
	_ = w.Close()
	for path, good := range bodyRoutes(b) {
		good.method, good.path = "POST", path
		media := func(m string) ask { a := good; a.media = m; return a }
		packed := func(encoding string) ask {
			a := good
			a.head, a.body = []string{"Content-Encoding: " + encoding}, bomb.String()
			return a
		}
		two := media("-")
		two.head = []string{"Content-Type: application/json", "Content-Type: text/plain"}
		b.try([]input{
			{path + " no type", media("-"), 415, ""}, {path + " text", media("text/plain"), 415, ""},
			{
				path + " form",
				media("application/x-www-form-urlencoded"),
				415,
				"",
			}, {path + " multipart", media("multipart/form-data; boundary=x"), 415, ""},
			{
				path + " another charset",
				media("application/json; charset=utf-16"),
				415,
				"",
			}, {path + " another JSON", media("application/json5"), 415, ""},
			{path + " junk", media(";;;"), 415, ""}, {path + " two types", two, 415, ""},
			{
				path + " gzip",
				packed("gzip"),
				415,
				"",
			}, {path + " deflate", packed("deflate"), 415, ""}, {path + " br", packed("br"), 415, ""},
			{path + " gzip twice", packed("gzip, gzip"), 415, ""},
		})
	}
}

func TestMembersThatNobodyKnowsAreNamedAndNeverApplied(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann := b.join("ann", "user")
	post := func(path, body string) ask { return ask{method: "POST", path: path, as: ann.access, body: body} }
	patch := func(body string) ask { return ask{method: "PATCH", path: "/v1/me", as: ann.access, body: body} }
	for _, name := range []string{"state", "id", "owner_id", "attempt", "delivery", "result", "created_at", "TYPE",
		"Payload", "__proto__", "constructor", "maxRetries",
		"", " type", "a/b", "x~y", "\\u0000"} {
		b.try([]input{
			{"job " + name, post("/v1/jobs", with(`"`+name+`":"completed"`)), 422, "errors"},
			{"batch " + name, post("/v1/jobs/batch", "["+echo+","+with(`"`+name+`":1`)+"]"), 422, `"pointer":"/1/`},
		})
	}
	b.try([]input{
		{"type in capitals only", post("/v1/jobs", `{"TYPE":"debug.echo","payload":{}}`), 422, `"/TYPE"`},
		{"a key twice", post("/v1/jobs", with(`"type":"debug.sleep"`)), 422, `"/type"`},
		{"a key twice, once escaped", post("/v1/jobs", with(`"\u0074ype":"debug.sleep"`)), 422, `"/type"`},
		{
			"a key twice in the payload",
			post("/v1/jobs", `{"type":"debug.echo","payload":{"a":1,"a":2}}`),
			422,
			`"/payload/a"`,
		},
		{"a key twice in labels", post("/v1/jobs", with(`"labels":{"a":"1","a":"2"}`)), 422, `"/labels/a"`},
		{
			"a role at registration",
			post("/v1/auth/register", `{"email":"x@example.com","password":"12345678","role":"admin"}`),
			422,
			`"/role"`,
		},
		{"a role in my account", patch(`{"role":"admin"}`), 422, `"/role"`},
		{"an e-mail in my account", patch(`{"email":"admin@example.com"}`), 422, `"/email"`},
		{"a name twice", patch(`{"name":"a","name":"b"}`), 422, `"/name"`},
		{"an owner of an API key", post("/v1/api-keys", `{"name":"k","user_id":"`+b.admin.ID+`"}`), 422, `"/user_id"`},
		{"the key of an API key", post("/v1/api-keys", `{"name":"k","key":"wb_mine"}`), 422, `"/key"`},
		{
			"an e-mail twice",
			post("/v1/auth/login", `{"email":"ann@example.com","password":"x","email":"admin@example.com"}`),
			422,
			`"/email"`,
		},
	})
}

func TestTextsThatCannotBeStoredAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.token(b.admin)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	payload := func(v string) ask {
		return ask{
			method: "POST",
			path:   "/v1/jobs",
			as:     b.admin.key,
			body:   `{"type":"debug.echo","payload":{"a":` + v + `}}`,
		}
	}
	job := func(members string) ask {
		return ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: with(members)}
	}
	b.try([]input{
		{"NUL", payload(`"a\u0000b"`), 422, "/payload/a"}, {"NUL in a key", payload(`{"\u0000":1}`), 422, "/payload/a"},
		{
			"the first half of a surrogate",
			payload(`"\ud800"`),
			422,
			"/payload/a",
		}, {"the second", payload(`"\udfff"`), 422, "/payload/a"},
		{
			"halves the wrong way round",
			payload(`"\udc00\ud800"`),
			422,
			"/payload/a",
		}, {"half a surrogate in a key", payload(`{"\ud800x":1}`), 422, "/payload/a"},
		{
			"invalid UTF-8",
			payload("\"\xc3\x28\""),
			400,
			"",
		}, {"overlong UTF-8", payload("\"\xc0\xaf\""), 400, ""}, {"a surrogate as UTF-8", payload("\"\xed\xa0\x80\""),
			400, ""},
		{
			"nested 10,000 deep",
			payload(deep(10_000)),
			422,
			"",
		}, {"nested 100,000 deep", payload(deep(100_000)), 422, ""}, {"opened 200,000 times",
			payload(strings.Repeat("[", 200_000)), 422, ""},
		{
			"objects nested 5,000 deep",
			payload(strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)),
			422,
			"",
		},
		{
			"a number beyond all bounds",
			payload(`1e200000`),
			422,
			"/payload/a",
		}, {"a negative one", payload(`-1e400`), 422, "/payload/a"},
		{
			"NUL in a label",
			job(`"labels":{"k":"\u0000"}`),
			422,
			"/labels/k",
		}, {"NUL in a queue", job(`"queue":"default\u0000"`), 422, "/queue"},
		{
			"NUL in a time",
			job(`"run_at":"\u0000"`),
			422,
			"/run_at",
		}, {"half a surrogate in a label", job(`"labels":{"k":"\udead"}`), 422, "/labels/k"},
		{
			"NUL in a name",
			ask{method: "POST", path: "/v1/api-keys", as: b.admin.access, body: `{"name":"a\u0000"}`},
			422,
			"/name",
		},
		{
			"a line break in a name",
			ask{method: "POST", path: "/v1/api-keys", as: b.admin.access, body: `{"name":"a\r\nb"}`},
			422,
			"/name",
		},
		{
			"NUL in an e-mail",
			ask{method: "POST", path: "/v1/auth/login", body: `{"email":"a\u0000@example.com","password":"x"}`},
			422,
			"/email",
		},
		{
			"NUL in a reason",
			ask{method: "POST", path: "/v1/queues/low/pause", as: b.admin.key, body: `{"reason":"\u0000"}`},
			422,
			"/reason",
		},
	})
}

func TestAPayloadAndItsResultComeBackByteForByte(t *testing.T) {
	t.Parallel()
	b := newIdleBench(t, newGround(t)...)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	for _, payload := range []string{`{"a":12345678901234567890,"b":1.10}`, `{ "z" : 1 ,  "a":[ ] }`,
		"{\n\t\"k\":\r\n 1e5}", `{"e":"\u00e9\/\u2028<&>","é":"😀"}`,
		`{"n":[1E+2,-0,0.000,1e-7,1e308]}`,
		`{"deep":` + strings.Repeat("[", 90) + strings.Repeat("]", 90) + `}`, `{"":{" ":null}}`, `{"big":"` +
			strings.Repeat("x", job.MaxPayload-20) + `"}`} {
		made := b.ask(ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: `{"payload":` + payload +
			`,"type":"debug.echo"}`}).
			want(b, 202)
		done := b.finished(strings.TrimPrefix(made.header.Get("Location"), "/v1/jobs/"))
		if string(done.Payload) != payload || string(done.Result) != payload || done.State != job.Completed {
			t.Errorf("%.60s became %.60s and %.60s (%s)", payload, done.Payload, done.Result, done.State)
		}
	}
}

func TestABodyMayHaveExactlyTheLimit(t *testing.T) {
	t.Parallel()
	const limit, batchLimit = 64 << 10, 256 << 10
	b := newBench(
		t,
		fmt.Sprint("WAYBILL_MAX_BODY_BYTES=", limit),
		fmt.Sprint("WAYBILL_MAX_BATCH_BODY_BYTES=", batchLimit),
	)
	for path, most := range map[string]int{"/v1/jobs": limit, "/v1/jobs/batch": batchLimit} {
		body := echo
		if path != "/v1/jobs" {
			body = "[" + echo + "]"
		}
		for _, chunks := range []bool{false, true} {
			for size, want := range map[int]int{most - 1: 202, most: 202, most + 1: 413, 20 * most: 413} {
				padded := body + strings.Repeat(" ", size-len(body))
				b.try(
					[]input{
						{
							fmt.Sprintf("%s of %d, in chunks: %v", path, size, chunks),
							ask{method: "POST", path: path, as: b.admin.key, body: padded, chunks: chunks},
							want,
							"",
						},
					},
				)
			}
		}
	}
	announced := fmt.Sprintf(
		"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: "+
			"application/json\r\nContent-Length: 9223372036854775807\r\n\r\n{",
		b.admin.key,
	)
	r, err := send(b.addr, "POST", announced)
	if err != nil {
		t.Fatal(err)
	}
	b.checkReply(r.want(b, 413))
	for name, head := range map[string][]string{"a length and chunks": {"Content-Length: 5",
		"Transfer-Encoding: chunked"}, "two lengths": {"Content-Length: 5",
		"Content-Length: 6"},
		"a negative length": {"Content-Length: -1"}, "a length in words": {"Content-Length: five"},
		"an encoding nobody knows": {"Transfer-Encoding: xchunked"}} {
		text := "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + b.admin.key +
			"\r\nContent-Type: application/json\r\n" + strings.Join(
			head,
			"\r\n",
		) + "\r\n\r\n" + echo + "\r\n\r\n"
		r, err := send(b.addr, "POST", text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b.checkReply(r); r.status != 400 && r.status != 501 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
}
