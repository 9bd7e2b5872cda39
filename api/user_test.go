package api

import (
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func TestAnAdministratorMakesAndChangesUsers(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	rootID, root := h.signIn("root@example.com", account.RoleAdmin)
	_, token := h.signIn("ann@example.com", account.RoleOperator)
	made := h.call("POST", "/v1/users", root, `{"email":"bob@example.com","password":"correct horse","role":"viewer"}`).
		want(201).
		json()
	if made["role"] != "viewer" || made["email"] != "bob@example.com" {
		t.Errorf("made %v", made)
	}
	if plain := h.call("POST", "/v1/users", root,
		`{"email":"eve@example.com","password":"correct horse"}`).want(201).json(); plain["role"] != "user" {
		t.Errorf("made %v", plain)
	}
	h.call("POST", "/v1/users", root, `{"email":"BOB@example.com","password":"correct horse"}`).want(409)
	h.call("POST", "/v1/users", root, `{"email":"x@example.com","password":"correct horse","role":"root"}`).want(422)
	h.call("POST", "/v1/users", root, `{"email":"x@example.com","password":"correct horse","id":"x"}`).want(422)

	path := "/v1/users/" + made["id"].(string)
	bob := h.login("bob@example.com", password)["access_token"].(string)
	if u := h.call("PATCH", path, root, `{"role":"operator","name":"Bob"}`).want(200).json(); u["role"] != "operator" ||
		u["name"] != "Bob" {
		t.Errorf("changed to %v", u)
	}
	if u := h.call("PATCH", path, root, `{"disabled":true}`).want(200).json(); u["disabled_at"] == nil ||
		u["role"] != "operator" {
		t.Errorf("disabled: %v", u)
	}
	h.call("GET", "/v1/me", bob, "").want(401)
	if u := h.call("PATCH", path, root, `{"disabled":false,"role":null}`).want(200).json(); u["disabled_at"] != nil {
		t.Errorf("enabled: %v", u)
	}
	h.call("PATCH", path, root, `{"disabled":"yes"}`).want(422)
	h.call("PATCH", path, root, `{"email":"new@example.com"}`).want(422)
	h.call("PATCH", path, token, `{"role":"user"}`).want(403)
	h.call("PATCH", "/v1/users/nobody", root, `{"role":"user"}`).want(404)
	h.call("PATCH", "/v1/users/019aa7c5-1d3e-7b1a-9f2c-0d8f3c5e7a61", root, `{"role":"user"}`).want(404)
	h.call("PATCH", "/v1/users/"+rootID, root, `{"role":"user"}`).want(409)
	h.call("PATCH", "/v1/users/"+rootID, root, `{"disabled":true}`).want(409)
}

func TestUsersAreListedPageByPage(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, root := h.signIn("root@example.com", account.RoleAdmin)
	_, other := h.signIn("toor@example.com", account.RoleAdmin)
	h.signIn("ann@example.com", account.RoleUser)
	var seen []any
	path := "/v1/users?limit=2"
	for path != "" {
		page := h.call("GET", path, root, "").want(200).json()
		for _, u := range page["data"].([]any) {
			seen = append(seen, u.(map[string]any)["email"])
		}
		path = ""
		if next, more := page["next_cursor"].(string); more {
			path = "/v1/users?limit=2&cursor=" + next
			h.call("GET", path, other, "").want(400)
			h.call("GET", "/v1/audit?cursor="+next, root, "").want(400)
		}
	}
	if len(seen) != 3 || seen[0] != "ann@example.com" || seen[2] != "root@example.com" {
		t.Errorf("listed %v", seen)
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "cursor=x", "limit=1&limit=2", "role=admin"} {
		h.call("GET", "/v1/users?"+query, root, "").want(400)
	}
}
