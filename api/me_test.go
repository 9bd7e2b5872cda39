package api

import (
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func TestAUserChangesHisNameAndPassword(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("ann@example.com", account.RoleUser)
	if me := h.call("PATCH", "/v1/me", token, `{"name":" Ann B. "}`).want(200).json(); me["name"] != "Ann B." {
		t.Errorf("I am %v", me)
	}
	for _, same := range []string{`{}`, `{"name":null}`} {
		if me := h.call("PATCH", "/v1/me", token, same).want(200).json(); me["name"] != "Ann B." {
			t.Errorf("after %s I am %v", same, me)
		}
	}
	h.call("PATCH", "/v1/me", token, `{"role":"admin"}`).want(422)
	h.call("PATCH", "/v1/me", token, `{"name":"a\u0007"}`).want(422)

	h.call("POST", "/v1/me/password", token, `{}`).want(422)
	h.call("POST", "/v1/me/password", token, `{"current_password":"wrong horse","new_password":"better horse"}`).
		want(422)
	h.call("POST", "/v1/me/password", token, `{"current_password":"correct horse","new_password":"better horse"}`).
		want(204)
	h.call("GET", "/v1/me", token, "").want(401)
	h.call("POST", "/v1/auth/login", "", `{"email":"ann@example.com","password":"correct horse"}`).want(401)
	h.login("ann@example.com", "better horse")
}
