package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// sessions signs browsers in and out. CreateSession fails as signing in for an access token does.
type sessions interface {
	CreateSession(ctx context.Context, email, password string) (token string, err error)
	// SessionPrincipal answers job.CodeUnauthenticated for a session that is not, or not any more.
	SessionPrincipal(ctx context.Context, token string) (*account.Principal, error)
	// EndSession is no mistake for a session that is not.
	EndSession(ctx context.Context, token string) error
}

// browsers knows who signed in on the sign-in page. It serves the routes that are marked Browser.
//
// A page of another origin can do nothing here: its requests carry no cookie (SameSite), are
// refused if they do (sameOrigin), and no answer may stand in a frame.
type browsers struct {
	sessions sessions
	cookie   http.Cookie // without its value
	origins  *http.CrossOriginProtection
	own      string // the origin of the public URL; empty: not known
	base     base
	notice   *notice
}

func newBrowsers(cfg Config, at base, s sessions) (*browsers, error) {
	n, err := newNotice(at)
	if err != nil {
		return nil, err
	}
	b := &browsers{sessions: s, origins: http.NewCrossOriginProtection(), notice: n, base: at,
		cookie: http.Cookie{Name: "waybill", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}}
	u, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		b.cookie.Name, b.cookie.Secure = "__Host-waybill", true
	}
	if at != "" { // others may live on the same host
		b.cookie.Name, b.cookie.Path = strings.Replace(b.cookie.Name, "__Host-", "__Secure-", 1), string(at)
	}
	if u.Host == "" {
		return b, nil
	}
	b.own = u.Scheme + "://" + u.Host
	return b, b.origins.AddTrustedOrigin(b.own)
}

// sameOrigin refuses what a page of another origin sent. net/http lets GET and HEAD pass, since
// they change nothing; one that names a foreign origin has no business here either.
func (b *browsers) sameOrigin(c *gin.Context) {
	// Browsers would send "Origin: null" with our own forms under the API's no-referrer.
	c.Header("Referrer-Policy", "same-origin")
	err := b.origins.Check(c.Request)
	if origin := c.GetHeader("Origin"); err == nil && origin != "" && c.GetHeader("Sec-Fetch-Site") != "same-origin" &&
		!b.isOwn(c.Request, origin) {
		err = errors.New("the origin is not this host")
	}
	if err != nil {
		b.fail(c, &job.Error{Code: job.CodeForbidden, Message: b.foreign(c), Err: err})
	}
}

// foreign says that a request comes from another site, and which setting is missing where it does
// not.
func (b *browsers) foreign(c *gin.Context) string {
	const plain = "the request comes from another site"
	origin := c.GetHeader("Origin")
	if u, err := url.Parse(origin); err != nil || u.Host == "" ||
		c.GetHeader("Sec-Fetch-Site") == "cross-site" && b.own != "" ||
		c.GetHeader("Sec-Fetch-Site") == "same-site" {
		return plain
	}
	origin = job.CleanText(origin, maxPathShown)
	if b.own == "" {
		return plain + ", " + origin + ", as far as this server knows: if that is where it is reached, set " +
			"WAYBILL_PUBLIC_URL=" + origin +
			", or let the proxy pass the Host header on"
	}
	return plain + ", " + origin + ": WAYBILL_PUBLIC_URL says that this server is reached at " + b.own
}

func (b *browsers) isOwn(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host) || origin == b.own
}

// authenticate finds the caller of a browser's request and lets it through if it may use r. A
// request for a page without a session is redirected to the sign-in page.
func (b *browsers) authenticate(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Cache-Control", "no-store")
		p, err := b.caller(c)
		switch {
		case errors.Is(err, errSignedOut) && asksForPage(c):
			b.base.redirect(
				c,
				http.StatusSeeOther,
				"/login?next="+url.QueryEscape(b.localNext(c.Request.URL.RequestURI())),
			)
			c.Abort()
			return
		case err == nil:
			requestInfoOf(c).caller = p
			if p.PasswordChangeRequired && !r.OldPassword {
				if asksForPage(c) {
					b.base.redirect(c, http.StatusSeeOther, passwordPage)
					c.Abort()
					return
				}
				err = r.allows(p)
			} else if !p.Role.Includes(r.role()) {
				err = forbidden("this needs the role " + string(r.role()))
			}
		}
		if err != nil {
			b.fail(c, err)
		}
	}
}

var errSignedOut = &job.Error{Code: job.CodeUnauthenticated, Message: "you are signed out: sign in again"}

// caller returns errSignedOut if there is no session.
func (b *browsers) caller(c *gin.Context) (*account.Principal, error) {
	token := b.token(c)
	if token == "" {
		return nil, errSignedOut
	}
	p, err := b.sessions.SessionPrincipal(c.Request.Context(), token)
	if job.CodeOf(err) == job.CodeUnauthenticated {
		return nil, errSignedOut
	}
	return p, err
}

func (b *browsers) token(c *gin.Context) string {
	cookie, err := c.Request.Cookie(b.cookie.Name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// remember gives the browser its session for as long as it runs; forget takes it back.
func (b *browsers) remember(c *gin.Context, token string) {
	cookie := b.cookie
	cookie.Value = token
	http.SetCookie(c.Writer, &cookie)
}

func (b *browsers) forget(c *gin.Context) {
	cookie := b.cookie
	cookie.MaxAge = -1
	http.SetCookie(c.Writer, &cookie)
}

// asksForPage tells what a person looks at from what a page loads by itself.
func asksForPage(c *gin.Context) bool {
	read := c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead ||
		c.Request.URL.Path == "/login" ||
		c.Request.URL.Path == "/logout"
	return read && !strings.HasPrefix(c.Request.URL.Path, monitorAPI)
}

// fail answers a browser with a page, asynqmon's page with a sentence, and other clients with a
// problem.
func (b *browsers) fail(c *gin.Context, err error) {
	e := known(err)
	switch {
	case asksForPage(c) && strings.Contains(c.GetHeader("Accept"), "text/html"):
		b.notice.refuse(c, e)
	case strings.Contains(c.GetHeader("Accept"), "text/plain"): // asynqmon prints an answer's body as it stands
		begin(c, e)
		write(c, c.Writer.Status(), "text/plain; charset=utf-8", []byte(e.Message))
	default:
		refuse(c, err)
	}
}

// begin writes the head of an answer that says e, and ends the chain.
func begin(c *gin.Context, e *job.Error) {
	status, _ := kind(e.Code)
	c.Abort()
	_ = c.Error(e)
	setProblemHeaders(c, e)
	c.Status(status)
}

// localNext lets a sign-in lead to the monitor and nowhere else.
func (b *browsers) localNext(next string) string {
	u, err := url.Parse(next)
	if err == nil {
		u.Path = b.base.cut(u.Path)
	}
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || !isMonitorPath(u.Path) {
		return monitorRoot
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
