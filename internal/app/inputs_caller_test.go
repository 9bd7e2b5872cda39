package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"hash"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv"
)

func TestWhoProvesNothingGetsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := b.token(b.admin)
	line := func(values ...string) (head []string) {
		for _, v := range values {
			head = append(head, "Authorization: "+v)
		}
		return head
	}
	for name, head := range map[string][]string{
		"no header":                    nil,
		"an empty header":              line(""),
		"the scheme alone":             line("Bearer"),
		"two headers":                  line("Bearer "+good, "Bearer "+good),
		"two headers, one of them bad": line("Bearer "+good, "Bearer x"),
		"two headers, in two cases":    {"authorization: Bearer " + good, "AUTHORIZATION: Bearer " + good},
		"two tokens in one header":     line("Bearer " + good + ", Bearer " + good),
		"Basic":                        line("Basic YWRtaW5AZXhhbXBsZS5jb206eA=="),
		"Digest":                       line(`Digest username="admin"`),
		"another scheme":               line("Token " + good),
		"no scheme":                    line(good),
		"a lower-case scheme and junk": line("bearer junk"),
		"a tab for the space":          line("Bearer\t" + good),
		"something after the token":    line("Bearer " + good + " x"),
		"a line that goes on":          {"Authorization: Bearer " + good + "\r\n x"},
		"Latin-1":                      line("Bearer \xe9\xe8"),
		"in a header of proxies":       {"Proxy-Authorization: Bearer " + good},
		"in a cookie":                  {"Cookie: access_token=" + good + "; waybill=" + good},
		"in somebody else's header":    {"X-Api-Key: " + good, "X-Auth-Token: " + good},
		"who he says he is": {"X-User-ID: admin", "X-Remote-User: admin@example.com",
			"X-Forwarded-User: admin"},
	} {
		t.Run(name, func(t *testing.T) { b.in(t).refusesCaller(ask{head: head}) })
	}
	t.Run("in the query string", func(t *testing.T) {
		b.in(t).
			refusesCaller(ask{path: "/v1/me?access_token=" + good + "&token=" + good + "&Authorization=Bearer%20" +
				good})
	})
	// The scheme's case and the spaces mean nothing.
	b.ask(ask{path: "/v1/me", head: line("bEARER   " + good)}).want(b, 200)
}

// refusesCaller checks that credentials are refused on a route that reads and on one that writes.
func (b *bench) refusesCaller(a ask) {
	b.Helper()
	before := b.census()
	for _, to := range []ask{{path: "/v1/me"},
		{method: "POST", path: "/v1/jobs", body: `{"type":"debug.echo","payload":{}}`}} {
		to.as, to.head = a.as, a.head
		if a.path != "" && to.method == "" {
			to.path = a.path
		}
		r := b.ask(to).want(b, http.StatusUnauthorized)
		if got := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
			b.Errorf("WWW-Authenticate is %q", got)
		}
		if r.took > 2*time.Second {
			b.Errorf("refused only after %v", r.took)
		}
	}
	if after := b.census(); after != before {
		b.Errorf("something changed:\n%s\n%s", before, after)
	}
}

// forge makes a token from a header and claims, signed as told.
func forge(header, claims map[string]any, sign func(text string) []byte) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // of the test's own making
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(header) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func hs(h func() hash.Hash, key []byte) func(string) []byte {
	return func(text string) []byte {
		mac := hmac.New(h, key)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
}

// changed is m with one member set, or taken away where the value is nil.
func changed(m map[string]any, name string, value any) map[string]any {
	out := maps.Clone(m)
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

func decodePart(t *testing.T, part string) (v map[string]any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokensThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := b.token(b.admin)
	parts := strings.Split(good, ".")
	header, claims := decodePart(t, parts[0]), decodePart(t, parts[1])
	ours, unsigned := hs(sha256.New, b.key), func(string) []byte { return nil }
	// So that each forgery below fails for its own reason.
	b.ask(ask{path: "/v1/me", as: forge(header, claims, ours)}).want(b, 200)
	now := time.Now().Unix()
	tokens := map[string]string{
		"alg HS384":                  forge(changed(header, "alg", "HS384"), claims, hs(sha512.New384, b.key)),
		"alg HS512":                  forge(changed(header, "alg", "HS512"), claims, hs(sha512.New, b.key)),
		"alg RS256, signed as HS256": forge(changed(header, "alg", "RS256"), claims, ours),
		"alg missing":                forge(changed(header, "alg", nil), claims, ours),
		"alg a number":               forge(changed(header, "alg", 256), claims, ours),
		"alg in lower case":          forge(changed(header, "alg", "hs256"), claims, ours),
		"another key":                forge(header, claims, hs(sha256.New, make([]byte, 32))),
		"an empty key":               forge(header, claims, hs(sha256.New, nil)),
		"a cut signature":            good[:len(good)-1],
		"a shorter signature":        good[:len(good)-8],
		"an empty signature":         parts[0] + "." + parts[1] + ".",
		"no signature":               parts[0] + "." + parts[1],
		"a padded signature":         good + "=",
		"a signature padded twice":   good + "==",
		"a fourth part":              good + "." + parts[2],
		"other trailing bits":        good[:len(good)-1] + string(good[len(good)-1]+1),
		"expired":                    forge(header, changed(claims, "exp", now-1), ours),
		"exp missing":                forge(header, changed(claims, "exp", nil), ours),
		"exp a text":                 forge(header, changed(claims, "exp", "9999999999"), ours),
		"exp negative":               forge(header, changed(claims, "exp", -1), ours),
		"exp beyond all calendars":   forge(header, changed(claims, "exp", 1e300), ours),
		"nbf ahead":                  forge(header, changed(claims, "nbf", now+3600), ours),
		"nbf missing":                forge(header, changed(claims, "nbf", nil), ours),
		"iat ahead":                  forge(header, changed(claims, "iat", now+3600), ours),
		"iat missing":                forge(header, changed(claims, "iat", nil), ours),
		"a foreign iss":              forge(header, changed(claims, "iss", "https://evil.example"), ours),
		"iss missing":                forge(header, changed(claims, "iss", nil), ours),
		"a foreign aud":              forge(header, changed(claims, "aud", "elsewhere"), ours),
		"aud missing":                forge(header, changed(claims, "aud", nil), ours),
		"sub of nobody": forge(
			header,
			changed(claims, "sub", "01890000-0000-7000-8000-000000000000"),
			ours,
		),
		"sub missing":        forge(header, changed(claims, "sub", nil), ours),
		"sub with SQL":       forge(header, changed(claims, "sub", "' OR ''='"), ours),
		"typ of an id token": forge(changed(header, "typ", "JWT"), claims, ours),
		"typ missing":        forge(changed(header, "typ", nil), claims, ours),
		"kid missing":        forge(changed(header, "kid", nil), claims, ours),
		"kid unknown":        forge(changed(header, "kid", "other"), claims, ours),
		"kid a path": forge(
			changed(header, "kid", "../../../../dev/null"),
			claims,
			hs(sha256.New, nil),
		),
		"kid with SQL": forge(
			changed(header, "kid", "x' UNION SELECT 'key"),
			claims,
			hs(sha256.New, []byte("key")),
		),
		"kid a list": forge(changed(header, "kid", []string{"test"}), claims, ours),
		"jku":        forge(changed(header, "jku", "https://evil.example/keys"), claims, ours),
		"jwk": forge(
			changed(header, "jwk", map[string]string{"kty": "oct", "k": "AAAA"}),
			claims,
			ours,
		),
		"x5u":                      forge(changed(header, "x5u", "https://evil.example/cert"), claims, ours),
		"crit":                     forge(changed(header, "crit", []string{"exp"}), claims, ours),
		"b64 false":                forge(changed(header, "b64", false), claims, ours),
		"the refresh token":        b.admin.refresh,
		"a part that is no base64": parts[0] + ".!!!." + parts[2],
		"empty parts":              "..",
		"dots":                     strings.Repeat(".", 4000),
		"many dots":                strings.Repeat(".", 60_000),
		"a long token":             strings.Repeat("a", 30_000) + "." + strings.Repeat("a", 30_000) + ".a",
		"JWE in five parts":        "a.b.c.d.e",
		"NUL":                      good + "\\u0000",
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", " none"} {
		tokens["alg "+alg+", unsigned"] = forge(changed(header, "alg", alg), claims, unsigned)
		tokens["alg "+alg+", signed"] = forge(changed(header, "alg", alg), claims, ours)
	}
	for i, what := range []string{"header", "claims", "signature"} {
		flipped := append([]string{}, parts...)
		middle := []byte(flipped[i])
		middle[len(middle)/2] ^= 1 // of base64's letters: another one, or none
		flipped[i] = string(middle)
		tokens["a byte flipped in the "+what] = strings.Join(flipped, ".")
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) { b.in(t).refusesCaller(ask{as: token}) })
	}
	// A header of a megabyte is refused by its size, before it is read as a token.
	r := b.ask(ask{path: "/v1/me", as: strings.Repeat(".", 1<<20)}).want(b, http.StatusRequestHeaderFieldsTooLarge)
	if r.took > 2*time.Second {
		t.Errorf("a megabyte of dots took %v", r.took)
	}
}

func TestAPIKeysThatAreNotGoodAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann := b.join("ann", "user")
	newKey := func(body string) (id, key string) {
		t.Helper()
		var k struct{ ID, Key string }
		b.read(b.ask(ask{method: "POST", path: "/v1/api-keys", as: ann.access, body: body}).want(b, 201), &k)
		*b.secrets = append(*b.secrets, k.Key)
		return k.ID, k.Key
	}
	_, good := newKey(`{"name":"good"}`)
	_, other := newKey(`{"name":"other"}`)
	b.ask(ask{path: "/v1/me", as: good}).want(b, 200)
	half := len(good) / 2 // within the id; the secret is what follows
	wrong := good[:len(good)-4] + other[len(other)-4:]
	*b.secrets = append(*b.secrets, wrong)
	for name, key := range map[string]string{
		"the right id with a secret that differs at its end": wrong,
		"the right id with another key's secret":             good[:half] + other[half:],
		"cut off":                                            good[:len(good)-1],
		"longer":                                             good + "A",
		"the id alone":                                       good[:half],
		"upper case":                                         strings.ToUpper(good),
		"another case":                                       "WB_" + good[3:],
		"without its prefix":                                 good[3:],
		"the prefix alone":                                   "wb_",
		"a newline, escaped":                                 good + `\n`,
		"a newline, URL-encoded":                             good + "%0a",
		"a carriage return":                                  good + "%0d",
		"a newline that goes on":                             good + "\r\n ",
		"in quotes":                                          `"` + good + `"`,
		"with SQL":                                           good[:half] + "'--",
		"with a path":                                        "wb_../../x",
		"a long one":                                         "wb_" + strings.Repeat("A", 50_000),
		"two of them":                                        good + "," + other,
		"the word for a key":                                 "wb_key",
		"a key of zeros":                                     "wb_" + strings.Repeat("0", len(good)-3),
		"with a zero-width letter":                           good + "\u200b",
	} {
		t.Run(name, func(t *testing.T) { b.in(t).refusesCaller(ask{as: key}) })
	}
	t.Run("in the query string", func(t *testing.T) {
		b.in(t).refusesCaller(ask{path: "/v1/me?api_key=" + good + "&key=" + good})
	})
	t.Run("revoked", func(t *testing.T) {
		b := b.in(t)
		id, key := newKey(`{"name":"short lived"}`)
		b.ask(ask{path: "/v1/me", as: key}).want(b, 200)
		b.ask(ask{method: "DELETE", path: "/v1/api-keys/" + id, as: ann.access}).want(b, 204)
		b.refusesCaller(ask{as: key})
	})
	t.Run("expired", func(t *testing.T) {
		b := b.in(t)
		_, key := newKey(
			`{"name":"short lived","expires_at":"` + time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano) + `"}`,
		)
		b.ask(ask{path: "/v1/me", as: key}).want(b, 200)
		testenv.Eventually(
			t,
			5*time.Second,
			func() bool { return b.ask(ask{path: "/v1/me", as: key}).status != 200 },
			"the key does not expire",
		)
		b.refusesCaller(ask{as: key})
	})
	t.Run("of a user who was disabled", func(t *testing.T) {
		b := b.in(t)
		_, key := newKey(`{"name":"left behind"}`)
		b.ask(ask{method: "PATCH", path: "/v1/users/" + ann.ID, as: b.token(b.admin), body: `{"disabled":true}`}).
			want(b, 200)
		testenv.Eventually(
			t,
			5*time.Second,
			func() bool { return b.ask(ask{path: "/v1/me", as: key}).status == 401 },
			"the key still opens",
		)
		b.refusesCaller(ask{as: key})
		b.refusesCaller(ask{as: ann.access})
	})
}
