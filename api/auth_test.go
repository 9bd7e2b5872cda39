package api

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

const password = "correct horse"

// accountTest is an API whose accounts are real ones, in a ledger of their own.
type accountTest struct {
	*apiTest
	auth *auth.Service
}

func newAccountTest(t *testing.T) *accountTest {
	t.Helper()
	ledger, err := store.Open(
		t.Context(),
		store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "waybill.db"), Log: testenv.Logger(t)},
	)
	must(t, err)
	t.Cleanup(func() { _ = ledger.Close() })
	_, err = ledger.Migrate(t.Context())
	must(t, err)
	h := newAPITest(t)
	s, err := auth.New(
		auth.Config{Keys: []auth.SigningKey{{ID: "k", Secret: []byte(strings.Repeat("k", 32))}}, Open: true,
			PasswordCost: auth.Cost{
				MemoryKiB: 64,
				Passes:    1,
				Lanes:     1,
			}},
		auth.Deps{Ledger: ledger, Log: slog.New(slog.NewTextHandler(h.log, nil))},
	)
	must(t, err)
	deps := h.deps()
	deps.Auth, deps.Accounts, deps.Audit = s, s, s
	h.api, err = New(h.cfg, deps)
	must(t, err)
	return &accountTest{h, s}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// signIn makes an account and answers its id and an access token.
func (h *accountTest) signIn(email string, role account.Role) (id, token string) {
	h.t.Helper()
	u, err := h.auth.CreateUser(h.t.Context(), nil, auth.NewUser{Email: email, Password: password, Role: role})
	must(h.t, err)
	return u.ID.String(), h.login(email, password)["access_token"].(string)
}

func (h *accountTest) login(email, password string) map[string]any {
	h.t.Helper()
	return h.call("POST", "/v1/auth/login", "", `{"email":"`+email+`","password":"`+password+`"}`).want(200).json()
}

func TestAStrangerRegistersAndSignsIn(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	u := h.call("POST", "/v1/auth/register", "", `{"email":"Ann@Example.com","password":"correct horse","name":"Ann"}`).
		want(201).
		json()
	if u["email"] != "ann@example.com" || u["role"] != "user" || u["name"] != "Ann" || u["disabled_at"] != nil {
		t.Errorf("registered %v", u)
	}
	again := h.call("POST", "/v1/auth/register", "", `{"email":"ANN@example.com","password":"another horse"}`).
		want(201).
		json()
	if again["id"] == u["id"] || len(again) != len(u) {
		t.Errorf("a known e-mail shows: %v", again)
	}
	a := h.call("POST", "/v1/auth/login", "", `{"email":"ann@example.com","password":"correct horse"}`).want(200)
	tokens := a.json()
	if tokens["token_type"] != "Bearer" || tokens["expires_in"] != 900.0 ||
		a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("tokens %v, headers %v", tokens, a.header)
	}
	me := h.call("GET", "/v1/me", tokens["access_token"].(string), "").want(200).json()
	if me["id"] != u["id"] {
		t.Errorf("I am %v", me)
	}
	refreshed := h.call("POST", "/v1/auth/refresh", "", `{"refresh_token":"`+tokens["refresh_token"].(string)+`"}`).
		want(200).
		json()
	old := `{"refresh_token":"` + tokens["refresh_token"].(string) + `"}`
	h.call("POST", "/v1/auth/refresh", "", old).want(401)
	last := `{"refresh_token":"` + refreshed["refresh_token"].(string) + `"}`
	h.call("POST", "/v1/auth/refresh", "", last).want(401) // its family is gone
	h.call("POST", "/v1/auth/logout", "", last).want(204)
	h.call("GET", "/v1/me", tokens["refresh_token"].(string), "").want(401)
	if strings.Contains(h.log.String(), "wr_") || strings.Contains(h.log.String(), "horse") {
		t.Errorf("a secret is logged: %s", h.log.String())
	}
}

func TestWrongSignInsAreAnsweredAlikeAndThenSlowedDown(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	h.signIn("ann@example.com", account.RoleUser)
	wrong := h.call("POST", "/v1/auth/login", "", `{"email":"ann@example.com","password":"wrong horse"}`).
		want(401).
		problem()
	unknown := h.call("POST", "/v1/auth/login", "", `{"email":"bob@example.com","password":"wrong horse"}`).
		want(401).
		problem()
	wrong.RequestID, unknown.RequestID = "", ""
	if wrong.Detail != unknown.Detail || wrong.Title != unknown.Title {
		t.Errorf("%+v\n%+v", wrong, unknown)
	}
	for range 100 {
		if a := h.call("POST", "/v1/auth/login", "",
			`{"email":"bob@example.com","password":"wrong horse"}`); a.status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("nobody was slowed down")
}

func TestWrongBodiesOfSignInsAreRefused(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	long := strings.Repeat("x", 1_000_000)
	for _, c := range []struct {
		path, body string
		pointers   string
	}{
		{"register", `{}`, "/email /password"},
		{"register", `{"email":"a@b.c","password":"1234567"}`, "/password"},
		{"register", `{"email":"a@b.c","password":"` + long + `"}`, "/password"},
		{"register", `{"email":"a@b.c","password":"12345678\u0000"}`, "/password"},
		{"register", `{"email":"Ann <a@b.c>","password":"correct horse","name":"a\tb"}`, "/email /name"},
		{"register", `{"email":"a@b.c","password":"correct horse","role":"admin"}`, "/role"},
		{"register", `{"email":1,"password":["x"]}`, "/email /password"},
		{"login", `{}`, "/email /password"},
		{"login", `{"email":null,"password":null}`, "/email /password"},
		{"login", `{"email":"a@b.c","password":"` + long + `"}`, "/password"},
		{"login", `{"email":"a@b.c","password":"x","PASSWORD":"y"}`, "/PASSWORD"},
		{"refresh", `{}`, "/refresh_token"},
		{"logout", `{"refresh_token":""}`, "/refresh_token"},
	} {
		if got := strings.Join(h.call("POST", "/v1/auth/"+c.path, "", c.body).want(422).pointers(),
			" "); got != c.pointers {
			t.Errorf("%s %.60s: named %q, want %q", c.path, c.body, got, c.pointers)
		}
	}
	h.call("POST", "/v1/auth/refresh", "", `{"refresh_token":"junk"}`).want(401)
	h.call("POST", "/v1/auth/logout", "", `{"refresh_token":"junk"}`).want(204)
	h.call("POST", "/v1/auth/login", "", `null`).want(400)
}

func TestAnAPIKeyInTheQueryStringIsNotRead(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("ann@example.com", account.RoleUser)
	key := h.call("POST", "/v1/api-keys", token, `{"name":"ci"}`).want(201).json()["key"].(string)
	for _, name := range []string{"access_token", "api_key", "key", "authorization"} {
		h.call("GET", "/v1/me?"+name+"="+key, "", "").want(401)
	}
	h.call("GET", "/v1/me", key, "").want(200)
	h.call("GET", "/v1/me", strings.ToUpper(key), "").want(401)
	h.call("GET", "/v1/me", "", "", "X-API-Key", key, "Cookie", "token="+key).want(401)
	if strings.Contains(h.log.String(), key) {
		t.Error("the key is logged")
	}
}
