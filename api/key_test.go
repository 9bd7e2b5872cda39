package api

import (
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func TestAKeyIsShownOnceAndEndsWhenItIsRevoked(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("ann@example.com", account.RoleUser)
	_, other := h.signIn("bob@example.com", account.RoleAdmin)
	made := h.call("POST", "/v1/api-keys", token, `{"name":"ci","scopes":["jobs:write"],"expires_at":null}`).
		want(201).
		json()
	key, id := made["key"].(string), made["id"].(string)
	h.call("POST", "/v1/jobs", key, `{"type":"debug.echo","payload":{}}`).want(202)
	h.call("GET", "/v1/jobs", key, "").want(403)
	list := h.call("GET", "/v1/api-keys", token, "").want(200).json()["data"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["id"] != id || list[0].(map[string]any)["key"] != nil {
		t.Errorf("listed %v", list)
	}
	if list := h.call("GET", "/v1/api-keys", other, "").want(200).json()["data"].([]any); len(list) != 0 {
		t.Errorf("somebody else sees %v", list)
	}
	h.call("DELETE", "/v1/api-keys/"+id, other, "").want(404)
	h.call("DELETE", "/v1/api-keys/x", token, "").want(404)
	h.call("GET", "/v1/me", key, "").want(200)
	h.call("DELETE", "/v1/api-keys/"+id, token, "").want(204)
	h.call("GET", "/v1/me", key, "").want(401)
	h.call("DELETE", "/v1/api-keys/"+id, token, "").want(404)
}

func TestAccountRoutesTakeNoKey(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("root@example.com", account.RoleAdmin)
	key := h.call("POST", "/v1/api-keys", token,
		`{"name":"all","scopes":["jobs:read","jobs:write","queues:read","queues:write","admin"]}`).want(201).json()["key"].(string)
	for _, c := range [][2]string{{"PATCH", "/v1/me"}, {"POST", "/v1/me/password"}, {"GET", "/v1/api-keys"},
		{"POST", "/v1/api-keys"},
		{"DELETE", "/v1/api-keys/019aa7c5-1d3e-7b1a-9f2c-0d8f3c5e7a61"}, {"GET", "/v1/users"}, {"POST", "/v1/users"},
		{"PATCH", "/v1/users/019aa7c5-1d3e-7b1a-9f2c-0d8f3c5e7a61"}} {
		h.call(c[0], c[1], key, `{}`).want(403)
	}
	h.call("GET", "/v1/me", key, "").want(200)
	h.call("GET", "/v1/audit", key, "").want(200)
}

func TestWrongKeysAreNotMade(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("ann@example.com", account.RoleUser)
	for _, body := range []string{`{}`, `{"name":""}`, `{"name":"x","scopes":[]}`, `{"name":"x","scopes":["root"]}`,
		`{"name":"x","scopes":"jobs:read"}`,
		`{"name":"x","expires_at":"2020-01-01T00:00:00Z"}`, `{"name":"x","expires_at":"2099-01-01T00:00:00Z"}`,
		`{"name":"x","expires_at":"soon"}`,
		`{"name":"x","user_id":"019aa7c5-1d3e-7b1a-9f2c-0d8f3c5e7a61"}`} {
		h.call("POST", "/v1/api-keys", token, body).want(422)
	}
	for range 100 {
		h.call("POST", "/v1/api-keys", token, `{"name":"x"}`).want(201)
	}
	h.call("POST", "/v1/api-keys", token, `{"name":"x"}`).want(409)
}
