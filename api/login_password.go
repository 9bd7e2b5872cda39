package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const (
	passwordPage = "/password"
	resetPage    = "/password-reset"
)

// passwordHandler is the pages on which people change their password: the one they have, or the one
// they forgot.
type passwordHandler struct {
	browsers *browsers
	accounts passwords
	page     *page
}

// passwords replaces passwords. Its mistakes name /current_password, /new_password or /token.
type passwords interface {
	ChangePassword(ctx context.Context, caller *account.Principal, current, next string) error
	passwordResets
}

func newPasswordHandler(b *browsers, p passwords) (*passwordHandler, error) {
	page, err := newPage("password", passwordFrame, b.base)
	return &passwordHandler{browsers: b, accounts: p, page: page}, err
}

func (h *passwordHandler) routes() []route {
	user := account.RoleUser
	return []route{
		{Method: "GET", Path: passwordPage, Browser: true, Role: user, OldPassword: true, Raw: h.show},
		{
			Method:      "POST",
			Path:        passwordPage,
			Browser:     true,
			Role:        user,
			OldPassword: true,
			Raw:         h.change,
			MaxBody:     smallBody,
		},
		{Method: "GET", Path: resetPage, Public: true, Browser: true, Raw: h.showReset},
		{Method: "POST", Path: resetPage, Public: true, Browser: true, Raw: h.reset, MaxBody: smallBody},
	}
}

// passwordView is what the page shows.
type passwordView struct {
	Action, Email, Token, Mistake string
	Required                      bool // an administrator set the password
	Ask                           bool // for the e-mail address that the link is sent to
	Sent                          bool
}

func (h *passwordHandler) show(c *gin.Context) {
	h.page.write(c, http.StatusOK, viewOf(caller(c)))
}

func viewOf(p *account.Principal) passwordView {
	return passwordView{Action: passwordPage, Email: p.Email, Required: p.PasswordChangeRequired}
}

// change ends every sign-in, so it leads back to the sign-in page.
func (h *passwordHandler) change(c *gin.Context) {
	form, err := readForm(c, "current_password", "new_password")
	if err != nil {
		refuse(c, err)
		return
	}
	err = h.accounts.ChangePassword(
		c.Request.Context(),
		caller(c),
		form.Get("current_password"),
		form.Get("new_password"),
	)
	h.answer(c, viewOf(caller(c)), err)
}

func (h *passwordHandler) showReset(c *gin.Context) {
	token := c.Query("token")
	h.page.write(c, http.StatusOK, passwordView{Action: resetPage, Token: token, Ask: token == ""})
}

func (h *passwordHandler) reset(c *gin.Context) {
	form, err := readForm(c, "email", "token", "new_password")
	switch {
	case err != nil:
		refuse(c, err)
		return
	case form.Has("email"):
		h.request(c, form.Get("email"))
		return
	}
	err = h.accounts.ConfirmReset(c.Request.Context(), form.Get("token"), form.Get("new_password"))
	h.answer(c, passwordView{Action: resetPage, Token: form.Get("token")}, err)
}

// request has the link sent. What the page says does not depend on whether the address has an
// account.
func (h *passwordHandler) request(c *gin.Context, email string) {
	view := passwordView{Action: resetPage, Ask: true}
	if err := h.accounts.RequestReset(c.Request.Context(), email); err != nil {
		h.answer(c, view, err)
		return
	}
	view.Sent = true
	h.page.write(c, http.StatusAccepted, view)
}

// answer shows the page again with what went wrong.
func (h *passwordHandler) answer(c *gin.Context, view passwordView, err error) {
	if err == nil {
		h.browsers.forget(c)
		h.browsers.base.redirect(c, http.StatusSeeOther, "/login")
		return
	}
	e := known(err)
	view.Mistake = sentence(e.Message)
	for _, f := range e.Fields {
		name := map[string]string{"/current_password": "The current password ", "/new_password": "The new password ",
			"/token": "The link ", "/email": "The e-mail "}[f.Pointer]
		view.Mistake = name + strings.TrimSuffix(f.Detail, ".") + "."
		break
	}
	if e.Code == codeInternal {
		e = &job.Error{Code: codeInternal, Message: "Something went wrong on our side.", Err: errors.Unwrap(e)}
		view.Mistake = e.Message
	}
	begin(c, e)
	h.page.write(c, c.Writer.Status(), view)
}
