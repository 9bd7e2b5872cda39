package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func (b *bench) login(email, password string, head ...string) reply {
	b.Helper()
	return b.ask(ask{method: "POST", path: "/v1/auth/login", body: credentials(email, password), head: head})
}

func (b *bench) refresh(token string) reply {
	b.Helper()
	return b.ask(ask{method: "POST", path: "/v1/auth/refresh", body: fmt.Sprintf(`{"refresh_token":%q}`, token)})
}

func TestAFailedLoginDoesNotTellWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann := b.join("ann", "user")
	const tries = 9
	var known, unknown []time.Duration
	bodies := map[string]bool{}
	for i := range tries {
		for who, took := range map[string]*[]time.Duration{ann.Email: &known,
			fmt.Sprintf("nobody%d@example.com", i): &unknown} {
			r := b.login(who, "not the password").want(b, 401)
			*took = append(*took, r.took)
			var p problem
			b.read(r, &p)
			bodies[strings.ReplaceAll(r.body, p.RequestID, "")] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("the answers differ: %v", bodies)
	}
	slices.Sort(known)
	slices.Sort(unknown)
	if k, u := known[tries/2], unknown[tries/2]; k > 3*u || u > 3*k { // without a hash to compare, 20 times
		t.Errorf("half of the tries took %v for a user, %v for nobody", k, u)
	}
}

func TestGuessingIsSlowedDownAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	b := newBench(t, "WAYBILL_TRUSTED_PROXIES=127.0.0.1")
	ann := b.join("ann", "user")
	const home, thief = "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 203.0.113.9"
	b.login(ann.Email, ann.password, home).want(b, 200)
	var last reply
	for range 25 {
		if last = b.login(ann.Email, "a guess", thief); last.status == 429 {
			break
		}
	}
	last.want(b, http.StatusTooManyRequests)
	if s, err := strconv.Atoi(last.header.Get("Retry-After")); err != nil || s > 60 {
		t.Errorf("come back in %q s", last.header.Get("Retry-After"))
	}
	b.login(ann.Email, ann.password, thief).want(b, 429) // a right password is not told apart by now
	b.login(strings.ToUpper(ann.Email), "a guess", thief).want(b, 429)
	b.login(ann.Email, ann.password, home).want(b, 200)
	b.login(b.admin.Email, b.admin.password, thief).want(b, 200) // others are not meant
	b.ask(ask{path: "/v1/me", as: ann.access}).want(b, 200)
}

func TestARefreshTokenIsGoodOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann := b.join("ann", "user")
	next := func(token string) (again string) {
		t.Helper()
		var v struct {
			Token string `json:"refresh_token"`
		}
		b.read(b.refresh(token).want(b, 200), &v)
		return v.Token
	}
	t.Run("used twice, its family ends", func(t *testing.T) {
		b := b.in(t)
		_, first := b.signIn(ann.Email, ann.password)
		second := next(first)
		b.refresh(first).want(b, 401)
		b.refresh(second).want(b, 401)
	})
	t.Run("of many at once, one at most wins", func(t *testing.T) {
		b := b.in(t)
		_, first := b.signIn(ann.Email, ann.password)
		var won atomic.Int32
		eachDone(20, 20, func(int) {
			if b.refresh(first).status == 200 {
				won.Add(1)
			}
		})
		if won.Load() > 1 {
			t.Errorf("%d won", won.Load())
		}
		b.refresh(first).want(b, 401)
	})
	t.Run("not after signing out", func(t *testing.T) {
		b := b.in(t)
		_, first := b.signIn(ann.Email, ann.password)
		second := next(first)
		b.ask(ask{method: "POST", path: "/v1/auth/logout", body: fmt.Sprintf(`{"refresh_token":%q}`, second)}).
			want(b, 204)
		b.ask(ask{method: "POST", path: "/v1/auth/logout", body: fmt.Sprintf(`{"refresh_token":%q}`, second)}).
			want(b, 204)
		b.refresh(second).want(b, 401)
	})
	t.Run("not after the password changed", func(t *testing.T) {
		b := b.in(t)
		access, first := b.signIn(ann.Email, ann.password)
		b.ask(ask{method: "POST", path: "/v1/me/password", as: access,
			body: fmt.Sprintf(`{"current_password":%q,"new_password":"another password"}`, ann.password)}).want(b, 204)
		b.refresh(first).want(b, 401)
		b.login(ann.Email, ann.password).want(b, 401)
		b.login(ann.Email, "another password").want(b, 200)
	})
	for name, token := range map[string]string{"junk": "junk", "an access token": b.token(b.admin),
		"an API key": b.admin.key,
		"cut off":    b.admin.refresh[:len(b.admin.refresh)-1]} {
		t.Run(name, func(t *testing.T) { b.in(t).refresh(token).want(b.in(t), 401) })
	}
	b.refresh(strings.Repeat("a", 500_000)).want(b, 413)
	b.refresh("").want(b, 422)
	b.refresh(b.admin.refresh).want(b, 200)
}

func (b *bench) register(email, password string) reply {
	b.Helper()
	return b.ask(ask{method: "POST", path: "/v1/auth/register", body: credentials(email, password)})
}

func TestPasswordsAreCheckedBeforeTheyAreHashedAndKeptExactly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := strings.Repeat("x", 1_000_000)
	tests := map[string]struct{ body, says string }{
		"a megabyte":         {credentials("a@example.com", long), "/password"},
		"1,025 bytes":        {credentials("a@example.com", long[:1025]), "/password"},
		"7 characters":       {credentials("a@example.com", "1234567"), "/password"},
		"7 characters of 28": {credentials("a@example.com", strings.Repeat("😀", 7)), "/password"},
		"empty":              {credentials("a@example.com", ""), "/password"},
		"null":               {`{"email":"a@example.com","password":null}`, "/password"},
		"missing":            {`{"email":"a@example.com"}`, "/password"},
		"a number":           {`{"email":"a@example.com","password":12345678}`, "/password"},
		"NUL":                {`{"email":"a@example.com","password":"1234\u00005678"}`, "/password"},
		"half a surrogate":   {`{"email":"a@example.com","password":"12345678\ud83d"}`, "/password"},
		"a role":             {`{"email":"a@example.com","password":"12345678","role":"admin"}`, "/role"},
		"no e-mail":          {credentials("nonsense", "12345678"), "/email"},
		"an e-mail with LF":  {credentials("a@example.com\nBcc: b@example.com", "12345678"), "/email"},
		"an e-mail of 5 KB":  {credentials(long[:5000]+"@example.com", "12345678"), "/email"},
		"a name of 1 KB":     {`{"email":"a@example.com","password":"12345678","name":"` + long[:1024] + `"}`, "/name"},
	}
	for name, test := range tests {
		b.try([]input{{name, ask{method: "POST", path: "/v1/auth/register", body: test.body}, 422, test.says}})
	}
	if n := b.count(`SELECT count(*) FROM users WHERE email LIKE 'a@%'`); n != 0 {
		t.Errorf("%d accounts were made", n)
	}
	before := time.Now()
	b.login("admin@example.com", long).want(b, 422)
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("a megabyte took %v", took)
	}
	for i, password := range []string{"  outer spaces  ", "tabs\tand\nlines\n", "pässwörter", "pa\u0308sswo\u0308rter",
		"😀😀😀😀😀😀😀😀", `"quotes\" and \\`, long[:1024]} {
		email := fmt.Sprintf("exact%d@example.com", i)
		b.register(email, password).want(b, 201)
		b.login(email, password).want(b, 200)
		for _, near := range []string{strings.TrimSpace(password), password + " ", strings.ToUpper(password),
			"pässwörter", "pa\u0308sswo\u0308rter"} {
			if near != password && len(near) <= 1024 {
				b.login(email, near).want(b, 401)
			}
		}
	}
}

func TestAnEMailHasOneAccountAndStrangersDoNotLearnOfIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	shape := func(r reply) string {
		var v map[string]any
		b.read(r, &v)
		for _, own := range []string{"id", "created_at", "email"} {
			if v[own] == nil {
				t.Errorf("%s is missing: %s", own, r.body)
			}
			delete(v, own)
		}
		text, _ := json.Marshal(v)
		return string(text)
	}
	first := shape(b.register("Ann@Example.com", "the first password").want(b, 201))
	before := b.census()
	for _, email := range []string{"ann@example.com", "ANN@EXAMPLE.COM", " ann@example.com ", "aNN@eXAMPLE.com"} {
		r := b.register(email, "another password")
		if r.status == 422 && strings.TrimSpace(email) != email {
			continue // no address at all, which says nothing of accounts
		}
		if again := shape(r.want(b, 201)); again != first {
			t.Errorf("%q: %s, and at first %s", email, again, first)
		}
		b.login(email, "another password").want(b, 401)
	}
	if after := b.census(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	b.login("aNn@example.com", "the first password").want(b, 200)
	var made atomic.Int32
	eachDone(8, 8, func(i int) {
		if b.register("Twin@example.com", fmt.Sprintf("password number %d", i)).status == 201 {
			made.Add(1)
		}
	})
	if n := b.count(`SELECT count(*) FROM users WHERE email = 'twin@example.com'`); n != 1 || made.Load() != 8 {
		t.Errorf("%d accounts, %d told so", n, made.Load())
	}
}

func TestWhatStrangersSayOfThemselvesIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann := b.join("ann", "user")
	r := b.login(ann.Email, ann.password, "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6",
		"CF-Connecting-IP: 6.6.6.6",
		"True-Client-IP: 6.6.6.6", "X-Request-ID: mine", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https").
		want(b, 200)
	if r.header.Get("X-Request-Id") == "mine" {
		t.Error("a stranger names our requests")
	}
	if n := b.count(`SELECT count(*) FROM audit_log WHERE ip <> '127.0.0.1' AND ip <> ''`); n != 0 {
		t.Errorf("%d entries of the audit log believe a stranger", n)
	}
	if n := b.count(`SELECT count(*) FROM audit_log WHERE ip = '127.0.0.1' AND request_id = $1`,
		r.header.Get("X-Request-Id")); n != 1 {
		t.Errorf("%d entries for the request", n)
	}
	for _, head := range []string{"X-User-ID: " + b.admin.ID, "X-Role: admin", "X-HTTP-Method-Override: DELETE",
		"X-Original-URL: /v1/users",
		"X-Rewrite-URL: /v1/users"} {
		var me person
		b.read(b.ask(ask{path: "/v1/me", as: ann.access, head: []string{head}}).want(b, 200), &me)
		if me.Email != ann.Email {
			t.Errorf("%s makes him %s", head, me.Email)
		}
		b.ask(ask{path: "/v1/users", as: ann.access, head: []string{head}}).want(b, 403)
	}
}
