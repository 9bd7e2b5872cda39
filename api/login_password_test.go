package api

import (
	"net/url"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/account"
)

// newBrowserTest makes an account test whose browsers are real as well.
func newBrowserTest(t *testing.T) *accountTest {
	t.Helper()
	h := newAccountTest(t)
	deps := h.deps()
	deps.Auth, deps.Accounts, deps.Audit, deps.Sessions = h.auth, h.auth, h.auth, h.auth
	var err error
	h.api, err = New(h.cfg, deps)
	must(t, err)
	return h
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// submit sends a form as the browser with this cookie.
func (h *accountTest) submit(method, path, cookie, body string) answer {
	h.t.Helper()
	return h.browse(method, path, "", body, "Content-Type", formType, "Accept", htmlPage, "Cookie", cookie)
}

func TestABrowserWhosePasswordWasSetChoosesAnotherFirst(t *testing.T) {
	t.Parallel()
	h := newBrowserTest(t)
	id, _ := h.signIn("ann@example.com", account.RoleViewer)
	_, root := h.signIn("root@example.com", account.RoleAdmin)
	h.call("PATCH", "/v1/users/"+id, root, `{"password":"set by root"}`).want(200)
	signedIn := h.submit("POST", "/login", "", form("email", "ann@example.com", "password", "set by root")).want(303)
	cookie, _, _ := strings.Cut(signedIn.header.Get("Set-Cookie"), ";")
	if to := h.submit("GET", "/monitor/", cookie, "").want(303).header.Get("Location"); to != "/password" {
		t.Errorf("led to %s", to)
	}
	h.submit("GET", "/monitor/api/queues", cookie, "").want(403)
	if page := h.submit("GET", "/password", cookie, "").want(200).body; !strings.Contains(
		page,
		"set by an administrator",
	) ||
		!strings.Contains(page, `name="current_password"`) {
		t.Error(page)
	}
	wrong := h.submit("POST", "/password", cookie,
		form("current_password", "set by root", "new_password", "password1")).
		want(422).
		body
	if !strings.Contains(wrong, "The new password is one of the most common") {
		t.Error(wrong)
	}
	h.submit("POST", "/password", cookie, form("current_password", "wrong horse", "new_password", "better horse")).
		want(422)
	done := h.submit("POST", "/password", cookie,
		form("current_password", "set by root", "new_password", "better horse")).
		want(303)
	if done.header.Get("Location") != "/login" {
		t.Errorf("led to %s", done.header.Get("Location"))
	}
	h.submit("GET", "/password", cookie, "").want(303) // signed out
	h.login("ann@example.com", "better horse")
}

func TestABrowserAsksForAResetWhereMailIsSent(t *testing.T) {
	t.Parallel()
	h := newBrowserTest(t)
	if page := h.submit("GET", "/login", "", "").want(200).body; strings.Contains(page, "/password-reset") {
		t.Errorf("offered though no mail is sent: %s", page)
	}
	if page := h.submit("POST", "/password-reset", "",
		form("email", "ann@example.com")).want(403).body; !strings.Contains(
		page,
		"sends no e-mail",
	) {
		t.Error(page)
	}
	page := h.submit("GET", "/password-reset", "", "").want(200).body
	if !strings.Contains(page, `name="email"`) || strings.Contains(page, `name="new_password"`) {
		t.Error(page)
	}
}

func TestThePageForAForgottenPasswordSaysWhatIsWrongWithTheLink(t *testing.T) {
	t.Parallel()
	h := newBrowserTest(t)
	if page := h.submit("GET", "/password-reset?token=wp_x", "", "").want(200).body; !strings.Contains(
		page,
		`name="token" value="wp_x"`,
	) {
		t.Error(page)
	}
	page := h.submit("POST", "/password-reset", "", form("token", "wp_x", "new_password", "better horse")).
		want(422).
		body
	if !strings.Contains(page, "The link is wrong, was used, or has expired") ||
		strings.Contains(page, "better horse") {
		t.Error(page)
	}
	h.browse("POST", "/password-reset", "", form("token", "wp_x", "new_password", "better horse"), "Content-Type",
		formType, "Origin", "https://evil.example").
		want(403)
}
