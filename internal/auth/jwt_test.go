package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

type object = map[string]any

// forge signs whatever header and claims with secret.
func forge(header, claims any, secret []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	text := b64(h) + "." + b64(c)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

// forger makes tokens that are good but for what a test changes.
type forger struct {
	now          time.Time
	user, signIn job.ID
	secret       []byte
}

func (f forger) token(header, claims object) string {
	h := object{"alg": "HS256", "typ": "at+jwt", "kid": "k1"}
	c := object{"iss": "waybill", "aud": "waybill", "sub": f.user, "role": "user", "sid": f.signIn, "jti": job.NewID(),
		"exp": f.now.Add(time.Minute).Unix(), "nbf": f.now.Unix(), "iat": f.now.Unix()}
	for _, m := range []struct{ to, from object }{{h, header}, {c, claims}} {
		maps.Copy(m.to, m.from)
		maps.DeleteFunc(m.to, func(_ string, v any) bool { return v == nil })
	}
	return forge(h, c, f.secret)
}

func TestWrongAccessTokensAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u := b.user("ann@example.com", account.RoleUser)
	tokens := b.login(u.Email)
	b.clock.pass(time.Second)
	now := b.clock.now()
	c, err := b.signer.verify(tokens.Access)
	must(t, err)
	other, err := b.signer.verify(b.login(b.user("bob@example.com", account.RoleUser).Email).Access)
	must(t, err)
	f := forger{now, u.ID, c.Family, testConfig().Keys[0].Secret}
	if _, err := b.authenticate(f.token(nil, nil)); err != nil {
		t.Fatalf("the pattern itself is refused: %v", err)
	}
	old := forger{now, u.ID, c.Family, testConfig().Keys[1].Secret}
	if _, err := b.authenticate(old.token(object{"kid": "k0"}, nil)); err != nil {
		t.Fatalf("an older key does not verify: %v", err)
	}

	good := tokens.Access
	parts := strings.Split(good, ".")
	flipped := []byte(good)
	flipped[len(parts[0])+10] ^= 1
	wrong := map[string]string{
		"cut signature":         good[:len(good)-1],
		"no signature":          parts[0] + "." + parts[1] + ".",
		"other spare bits":      good[:len(good)-1] + string(sparing(good[len(good)-1])),
		"padded signature":      good + "=",
		"longer signature":      good + "A",
		"trailing newline":      good + "\n",
		"inner newline":         parts[0] + ".\n" + parts[1] + "." + parts[2],
		"one byte flipped":      string(flipped),
		"four parts":            good + ".x",
		"a megabyte of dots":    strings.Repeat(".", 1<<20),
		"4 KiB of dots":         strings.Repeat(".", 4000),
		"refresh token":         tokens.Refresh,
		"another alg":           f.token(object{"alg": "HS384"}, nil),
		"alg missing":           f.token(object{"alg": nil}, nil),
		"alg in lower case":     f.token(object{"alg": "hs256"}, nil),
		"expired":               f.token(nil, object{"exp": now.Add(-time.Second).Unix()}),
		"expires now":           f.token(nil, object{"exp": now.Unix()}),
		"nbf ahead":             f.token(nil, object{"nbf": now.Add(5 * time.Second).Unix()}),
		"iat ahead":             f.token(nil, object{"iat": now.Add(time.Minute).Unix()}),
		"exp missing":           f.token(nil, object{"exp": nil}),
		"nbf missing":           f.token(nil, object{"nbf": nil}),
		"iat missing":           f.token(nil, object{"iat": nil}),
		"exp as text":           f.token(nil, object{"exp": "9999999999"}),
		"exp beyond calendars":  f.token(nil, object{"exp": 1e300}),
		"exp negative":          f.token(nil, object{"exp": -1}),
		"foreign iss":           f.token(nil, object{"iss": "https://evil.example"}),
		"iss missing":           f.token(nil, object{"iss": nil}),
		"foreign aud":           f.token(nil, object{"aud": "other"}),
		"aud missing":           f.token(nil, object{"aud": nil}),
		"sub missing":           f.token(nil, object{"sub": nil}),
		"sub of nobody":         f.token(nil, object{"sub": job.NewID()}),
		"sub that is no id":     f.token(nil, object{"sub": "1 OR 1=1"}),
		"sid missing":           f.token(nil, object{"sid": nil}),
		"sid of nothing":        f.token(nil, object{"sid": job.NewID()}),
		"sid of another user":   f.token(nil, object{"sid": other.Family}),
		"typ missing":           f.token(object{"typ": nil}, nil),
		"typ of another kind":   f.token(object{"typ": "JWT"}, nil),
		"kid missing":           f.token(object{"kid": nil}, nil),
		"kid unknown":           f.token(object{"kid": "k2"}, nil),
		"kid of another key":    f.token(object{"kid": "k0"}, nil),
		"kid with a path":       f.token(object{"kid": "../../dev/null"}, nil),
		"kid with SQL":          f.token(object{"kid": "x' UNION SELECT 'k"}, nil),
		"kid a number":          f.token(object{"kid": 1}, nil),
		"kid in other case":     f.token(object{"kid": "K1"}, nil),
		"jku":                   f.token(object{"jku": "https://evil.example/keys"}, nil),
		"jwk":                   f.token(object{"jwk": object{"kty": "oct", "k": "AAAA"}}, nil),
		"x5u":                   f.token(object{"x5u": "https://evil.example/cert"}, nil),
		"crit":                  f.token(object{"crit": []string{"exp"}}, nil),
		"signed with no secret": forger{now, u.ID, c.Family, nil}.token(nil, nil),
		"body is an array":      forge(object{"alg": "HS256", "typ": "at+jwt", "kid": "k1"}, []int{1}, f.secret),
		"body is null":          forge(object{"alg": "HS256", "typ": "at+jwt", "kid": "k1"}, nil, f.secret),
		"RS256":                 rsaToken(t, u.ID, now),
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		text := f.token(object{"alg": none}, nil)
		wrong["alg "+none] = text
		wrong["alg "+none+" unsigned"] = text[:strings.LastIndex(text, ".")+1]
	}
	for name, token := range wrong {
		start := time.Now()
		_, err := b.authenticate(token)
		if job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		if err != nil && strings.Contains(err.Error(), "kid") {
			t.Errorf("%s: the answer explains itself: %v", name, err)
		}
	}
	if _, err := b.authenticate(good); err != nil {
		t.Errorf("the good one is refused in the end: %v", err)
	}
}

// sparing is another character of base64 that differs from c in the last bit only, which a
// signature's 43rd character has to spare.
func sparing(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func rsaToken(t *testing.T, user job.ID, now time.Time) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	token := jwt.NewWithClaims(
		jwt.SigningMethodRS256,
		jwt.MapClaims{"iss": "waybill", "aud": "waybill", "sub": user.String(),
			"exp": now.Add(time.Minute).Unix(), "nbf": now.Unix(), "iat": now.Unix()},
	)
	token.Header["typ"], token.Header["kid"] = "at+jwt", "k1"
	text, err := token.SignedString(key)
	must(t, err)
	return text
}

func TestATokenThatWasVerifiedOnceStillExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tokens := b.login(b.user("ann@example.com", account.RoleUser).Email)
	for range 2 {
		_, err := b.authenticate(tokens.Access)
		must(t, err)
	}
	c, err := b.signer.verify(tokens.Access)
	must(t, err)
	b.clock.pass(c.Expires.time().Sub(b.clock.now()) - time.Millisecond)
	_, err = b.authenticate(tokens.Access)
	must(t, err)
	b.clock.pass(time.Millisecond)
	_, err = b.authenticate(tokens.Access)
	wantCode(t, err, job.CodeUnauthenticated)
}

func TestTheTimesInATokenAreWholeSeconds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.pass(123456 * time.Microsecond)
	body, err := base64.RawURLEncoding.DecodeString(
		strings.Split(b.login(b.user("ann@example.com", account.RoleUser).Email).Access, ".")[1],
	)
	must(t, err)
	var times struct{ Exp, Nbf, Iat json.Number }
	must(t, json.Unmarshal(body, &times))
	for name, text := range map[string]json.Number{"exp": times.Exp, "nbf": times.Nbf, "iat": times.Iat} {
		if _, err := text.Int64(); err != nil {
			t.Errorf("%s is %s", name, text)
		}
	}
}

func TestHeadersThatNameNobodyAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.login(b.user("ann@example.com", account.RoleUser).Email).Access
	for _, values := range [][]string{nil, {}, {""}, {"Bearer"}, {"Bearer "}, {token},
		{"Bearer " + token, "Bearer " + token}, {"Bearer " + token, ""},
		{"Basic YW5uOnB3"}, {"bearer junk"}, {"Bearer\t" + token}, {"Bearer " + token + " "},
		{"Bearer " + token + ", Bearer " + token},
		{"Bearer  " + token + "\x00"}, {" Bearer " + token}, {"Token " + token},
		{"Bearer " + strings.Repeat("a", 1<<20)}} {
		if _, err := b.Authenticate(t.Context(), values); job.CodeOf(err) != job.CodeUnauthenticated {
			t.Errorf("%.60q: %v", values, err)
		}
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "Bearer   "} {
		if _, err := b.Authenticate(t.Context(), []string{scheme + token}); err != nil {
			t.Errorf("%q: %v", scheme, err)
		}
	}
}

func TestSecretsOfSigningKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, cfg.Keys); strings.Contains(text, "1111") || strings.Contains(text, "49, 49") ||
			strings.Contains(text, "49 49") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// Property: any header is answered without a panic, and none but a token that was issued is
// accepted.
func FuzzAuthenticate(f *testing.F) {
	for _, seed := range []string{"", "Bearer ", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "bearer wb_",
		"Basic Og==",
		"Bearer wb_" + strings.Repeat("0", idLen) + strings.Repeat("A", secretLen), "Bearer " + strings.Repeat(".", 50),
		"Bearer " + forge(object{"alg": "HS256", "typ": "at+jwt", "kid": "k1"}, object{"exp": 1e308, "iat": -1},
			[]byte(strings.Repeat("1", 32)))} {
		f.Add(seed)
	}
	now := time.Now()
	signer, err := newSigner(
		[]SigningKey{{"k1", []byte(strings.Repeat("1", 32))}},
		"",
		func() time.Time { return now },
		func() time.Time { return now },
	)
	must(f, err)
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := bearer([]string{header})
		if !ok {
			return
		}
		if c, err := signer.verify(token); err == nil && (c.Subject.IsZero() || c.Expires.time().Before(now)) {
			t.Errorf("took %q", token)
		}
		if id, secret, ok := parseKey(token); ok && keyPrefix+strings.ReplaceAll(id.String(), "-", "")+secret != token {
			t.Errorf("%q has another spelling", token)
		}
		if r, ok := parseRefresh(token); ok && r.String() != token {
			t.Errorf("%q has another spelling", token)
		}
	})
}
