package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// loginHandler is the sign-in page. It works without a script.
type loginHandler struct {
	browsers *browsers
	resets   passwordResets
	page     *page
}

func newLoginHandler(b *browsers, r passwordResets) (*loginHandler, error) {
	p, err := newPage("login", loginFrame, b.base)
	return &loginHandler{browsers: b, resets: r, page: p}, err
}

func (h *loginHandler) routes() []route {
	return []route{
		{Method: "GET", Path: "/login", Public: true, Browser: true, Raw: h.show},
		{Method: "POST", Path: "/login", Public: true, Browser: true, Raw: h.signIn, MaxBody: smallBody},
		{Method: "POST", Path: "/logout", Public: true, Browser: true, Raw: h.signOut, MaxBody: smallBody},
	}
}

// loginView is what the page shows.
type loginView struct {
	Email, Next, Mistake string
	Resets               bool // a forgotten password can be reset by e-mail
}

func (h *loginHandler) show(c *gin.Context) {
	next := h.browsers.localNext(c.Query("next"))
	if _, err := h.browsers.caller(c); err == nil {
		h.browsers.base.redirect(c, http.StatusSeeOther, next)
		return
	}
	h.page.write(c, http.StatusOK, loginView{Next: next, Resets: h.resets.MailsResets()})
}

// signIn makes a new session and ends the old one, so that a session id that was planted in this
// browser is worth nothing.
func (h *loginHandler) signIn(c *gin.Context) {
	form, err := readForm(c, "email", "password", "next")
	if err != nil {
		refuse(c, err)
		return
	}
	ctx := c.Request.Context()
	token, err := h.browsers.sessions.CreateSession(ctx, form.Get("email"), form.Get("password"))
	if err != nil {
		h.again(c, form, known(err))
		return
	}
	if old := h.browsers.token(c); old != "" {
		if err := h.browsers.sessions.EndSession(ctx, old); err != nil {
			_ = c.Error(fmt.Errorf("end the session before: %w", err)) // it ends by itself
		}
	}
	h.browsers.remember(c, token)
	h.browsers.base.redirect(c, http.StatusSeeOther, h.browsers.localNext(form.Get("next")))
}

// again shows the page with what went wrong. Which of e-mail and password it was is not said, nor
// whether there is such a user.
func (h *loginHandler) again(c *gin.Context, form url.Values, e *job.Error) {
	view := loginView{
		Email:  form.Get("email"),
		Next:   h.browsers.localNext(form.Get("next")),
		Resets: h.resets.MailsResets(),
	}
	switch e.Code {
	case job.CodeUnauthenticated, job.CodeInvalid: // such a password cannot exist, so it is wrong
		e = &job.Error{Code: job.CodeUnauthenticated, Message: "The e-mail or the password is wrong.", Err: e}
	case job.CodeTooMany:
		wait := math.Ceil(max(e.RetryAfter, time.Second).Seconds())
		e = &job.Error{
			Code:       e.Code,
			RetryAfter: e.RetryAfter,
			Message:    fmt.Sprintf("Too many tries. Wait %.0f s and try again.", wait),
			Err:        e,
		}
	case job.CodeUnavailable:
		e = &job.Error{
			Code:       e.Code,
			RetryAfter: e.RetryAfter,
			Message:    "Signing in is not possible at the moment. Try again soon.",
			Err:        e,
		}
	default:
		e = &job.Error{Code: codeInternal, Message: "Something went wrong on our side.", Err: e}
	}
	view.Mistake = e.Message
	begin(c, e)
	h.page.write(c, c.Writer.Status(), view)
}

func (h *loginHandler) signOut(c *gin.Context) {
	if err := h.browsers.sessions.EndSession(c.Request.Context(), h.browsers.token(c)); err != nil {
		h.browsers.fail(c, fmt.Errorf("end session: %w", err))
		return
	}
	h.browsers.forget(c)
	h.browsers.base.redirect(c, http.StatusSeeOther, "/login")
}

// readForm reads a form as strictly as bindJSON reads an object: only the fields named, each once.
func readForm(c *gin.Context, names ...string) (url.Values, error) {
	body, err := readBody(c, "application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	for name, values := range form {
		if len(values) != 1 || !utf8.ValidString(values[0]) || !knownParameter(names, name) {
			err = errors.Join(err, errors.New("a field is unknown, given twice, or no text"))
		}
	}
	if err != nil {
		return nil, &job.Error{Code: job.CodeMalformed, Message: "the form cannot be read", Err: err}
	}
	return form, nil
}
