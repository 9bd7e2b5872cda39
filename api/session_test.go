package api

import (
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/account"
)

func data(a answer) (list []map[string]any) {
	for _, item := range a.json()["data"].([]any) {
		list = append(list, item.(map[string]any))
	}
	return list
}

func TestAUserListsAndEndsHisSessions(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, token := h.signIn("ann@example.com", account.RoleUser)
	_, stranger := h.signIn("bob@example.com", account.RoleUser)
	second := h.login("ann@example.com", password)["access_token"].(string)
	third := h.login("ann@example.com", password)["access_token"].(string)
	list := data(h.call("GET", "/v1/me/sessions", token, "").want(200))
	if len(list) != 3 || list[2]["current"] != true || list[0]["current"] != false || list[0]["kind"] != "token" ||
		list[0]["ip"] != "192.0.2.1" {
		t.Fatalf("listed %v", list)
	}
	path := "/v1/me/sessions/" + list[1]["id"].(string)
	h.call("DELETE", path, stranger, "").want(404)
	h.call("DELETE", "/v1/me/sessions/x", token, "").want(404)
	h.call("DELETE", path, token, "").want(204)
	h.call("DELETE", path, token, "").want(404)
	h.call("GET", "/v1/me", second, "").want(401)
	h.call("GET", "/v1/me", third, "").want(200)
	h.call("DELETE", "/v1/me/sessions", token, "").want(204)
	h.call("GET", "/v1/me", third, "").want(401)
	h.call("GET", "/v1/me", token, "").want(200)
	h.call("GET", "/v1/me", stranger, "").want(200)
	h.call("DELETE", "/v1/me/sessions/"+list[2]["id"].(string), token, "").want(204) // the one it comes with
	h.call("GET", "/v1/me", token, "").want(401)
	key := h.call("POST", "/v1/api-keys", stranger, `{"name":"ci"}`).want(201).json()["key"].(string)
	h.call("GET", "/v1/me/sessions", key, "").want(403)
}

func TestAnAdministratorEndsSessionsAndRevokesKeysOfOthers(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, root := h.signIn("root@example.com", account.RoleAdmin)
	id, token := h.signIn("ann@example.com", account.RoleUser)
	second := h.login("ann@example.com", password)["access_token"].(string)
	made := h.call("POST", "/v1/api-keys", token, `{"name":"ci"}`).want(201).json()
	user := "/v1/users/" + id
	list := data(h.call("GET", user+"/sessions", root, "").want(200))
	if len(list) != 2 || list[0]["current"] != false {
		t.Fatalf("listed %v", list)
	}
	h.call("DELETE", user+"/sessions/"+list[0]["id"].(string), root, "").want(204)
	h.call("GET", "/v1/me", second, "").want(401)
	h.call("DELETE", user+"/sessions", root, "").want(204)
	h.call("GET", "/v1/me", token, "").want(401)
	h.call("GET", "/v1/me", root, "").want(200)

	keys := data(h.call("GET", user+"/api-keys", root, "").want(200))
	if len(keys) != 1 || keys[0]["id"] != made["id"] || keys[0]["key"] != nil {
		t.Errorf("listed %v", keys)
	}
	h.call("GET", "/v1/me", made["key"].(string), "").want(200)
	h.call("DELETE", user+"/api-keys/"+made["id"].(string), root, "").want(204)
	h.call("GET", "/v1/me", made["key"].(string), "").want(401)
	h.call("DELETE", user+"/api-keys/"+made["id"].(string), root, "").want(404)
	for _, wrong := range []string{"/v1/users/x", "/v1/users/019aa7c5-1d3e-7b1a-9f2c-0d8f3c5e7a61"} {
		h.call("DELETE", wrong+"/sessions", root, "").want(404)
	}
}

func TestAnAdministratorSetsAPasswordThatMustBeChanged(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	_, root := h.signIn("root@example.com", account.RoleAdmin)
	id, before := h.signIn("ann@example.com", account.RoleOperator)
	h.call("PATCH", "/v1/users/"+id, root, `{"password":"password1"}`).want(422)
	u := h.call("PATCH", "/v1/users/"+id, root, `{"password":"set by root"}`).want(200).json()
	if u["password_change_required"] != true || u["role"] != "operator" {
		t.Errorf("changed to %v", u)
	}
	h.call("GET", "/v1/me", before, "").want(401)
	tokens := h.login("ann@example.com", "set by root")
	token := tokens["access_token"].(string)
	if tokens["password_change_required"] != true {
		t.Errorf("signed in with %v", tokens)
	}
	h.call("GET", "/v1/me", token, "").want(200)
	for _, r := range h.api.routes {
		if r.Public || r.Browser || r.OldPassword {
			continue
		}
		path := strings.NewReplacer(":id", id, ":type", "debug.echo", ":name", "default", ":session", id, ":key", id).
			Replace(r.Path)
		if a := h.call(r.Method, path, token, "{}"); a.status != 403 || a.problem().Code != codePasswordChange {
			t.Errorf("%s %s: %d %s", r.Method, path, a.status, a.body)
		}
	}
	h.call("POST", "/v1/me/password", token, `{"current_password":"set by root","new_password":"better horse"}`).
		want(204)
	h.call("GET", "/v1/jobs", h.login("ann@example.com", "better horse")["access_token"].(string), "").want(200)
}

func TestAPasswordResetIsForbiddenWhereNoMailIsSent(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	h.call("POST", "/v1/auth/password-reset", "", `{"email":"ann@example.com"}`).want(403)
	h.call("POST", "/v1/auth/password-reset", "", `{}`).want(422)
	a := h.call("POST", "/v1/auth/password-reset/confirm", "", `{"token":"wp_x","new_password":"better horse"}`).
		want(422)
	if got := a.pointers(); len(got) != 1 || got[0] != "/token" {
		t.Errorf("pointers %v", got)
	}
}

func TestTheAuditLogIsExportedWholeAndFiltered(t *testing.T) {
	t.Parallel()
	h := newAccountTest(t)
	rootID, root := h.signIn("root@example.com", account.RoleAdmin)
	for range exportPage + 20 {
		h.auth.Record(t.Context(), account.AuditEntry{Action: "job.cancel", Target: "a job", IP: "203.0.113.5"})
	}
	lines := func(query string) []string {
		t.Helper()
		a := h.call("GET", "/v1/audit/export?"+query, root, "").want(200)
		if got := a.header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("content type %s", got)
		}
		return strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	}
	if all := lines(""); len(all) != exportPage+22 || !strings.Contains(all[0], `"target":"a job"`) ||
		!strings.Contains(all[len(all)-1], rootID) {
		t.Errorf("%d lines, %s to %s", len(all), all[0], all[len(all)-1])
	}
	for query, want := range map[string]int{"action=user.login": 1, "target=" + rootID: 2,
		"ip=203.0.113.5&target=a%20job": exportPage + 20} {
		if got := lines(query); len(got) != want {
			t.Errorf("%s: %d lines, want %d", query, len(got), want)
		}
	}
	first := data(h.call("GET", "/v1/audit?action=user.login", root, "").want(200))[0]["at"].(string)
	if got := data(h.call("GET", "/v1/audit?until="+first, root, "").want(200)); len(got) != 1 {
		t.Errorf("until the sign-in: %v", got)
	}
	for _, query := range []string{"limit=1", "cursor=x", "ip=x", "until=x", "actor=x"} {
		h.call("GET", "/v1/audit/export?"+query, root, "").want(400)
	}
}

func TestWhatIsRefusedToACallerIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.call("POST", "/v1/queues/default/pause", viewer, `{"reason":"x"}`).want(403)
	h.call("GET", "/v1/users", viewer, "").want(403) // changes nothing
	h.call("POST", "/v1/queues/default/pause", "", `{"reason":"x"}`).want(401)
	h.browse("POST", queuesPath+"default:pause", viewer, "")
	if n := len(h.audit.refused); n != 2 || len(h.audit.entries) > 0 {
		t.Fatalf("%d entries: %+v", n, h.audit.refused)
	}
	e := h.audit.refused[0]
	if e.Actor != "viewer@example.com" || e.Target != "POST /v1/queues/:name/pause" ||
		e.Detail["path"] != "/v1/queues/default/pause" || e.Detail["reason"] != "this needs the role operator" ||
		e.IP == "" {
		t.Errorf("the entry is %+v", e)
	}
}
