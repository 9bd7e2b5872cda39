package api

import (
	"net/url"
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func TestTheAuditLogSaysWhoDidWhatAndFromWhere(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	rootID, root := h.signIn("root@example.com", account.RoleAdmin)
	annID, _ := h.signIn("ann@example.com", account.RoleUser)
	h.call("PATCH", "/v1/users/"+annID, root, `{"role":"viewer"}`, "User-Agent", "test", "X-Forwarded-For",
		"203.0.113.9").
		want(200)
	list := func(query url.Values) []any {
		t.Helper()
		return h.call("GET", "/v1/audit?"+query.Encode(), root, "").want(200).json()["data"].([]any)
	}
	first := list(nil)[0].(map[string]any)
	for name, want := range map[string]any{"actor_id": rootID, "actor": "root@example.com", "key_id": nil,
		"action": "user.change", "target": annID,
		// The address that httptest calls from, whatever is said to be forwarded.
		"ip": "192.0.2.1", "user_agent": "test"} {
		if first[name] != want {
			t.Errorf("%s is %v, want %v", name, first[name], want)
		}
	}
	if first["detail"].(map[string]any)["role"] != "viewer" || first["request_id"] == "" {
		t.Errorf("the entry is %v", first)
	}
	for want, query := range map[int]url.Values{
		1: {"since": {first["at"].(string)}},
		2: {"actor": {"ROOT@example.com"}},
		0: {"actor": {"nobody@example.com"}},
	} {
		if got := list(query); len(got) != want {
			t.Errorf("%v: %d entries, want %d: %v", query, len(got), want, got)
		}
	}
	if got := list(url.Values{"actor": {rootID}, "action": {"user.login"}}); len(got) != 1 {
		t.Errorf("by id and action: %v", got)
	}
	for _, query := range []string{"actor=x", "action=x", "action=user.login'--", "since=yesterday", "since=2026-01-01",
		"since=0001-01-01T00:00:00Z", "targets=x", "ip=x", "until=x"} {
		h.call("GET", "/v1/audit?"+query, root, "").want(400)
	}
}
