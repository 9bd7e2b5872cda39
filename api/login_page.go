package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the frames of the pages and their style
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

//go:embed page/login.html
var loginFrame string

//go:embed page/notice.html
var noticeFrame string

//go:embed page/password.html
var passwordFrame string

//go:embed page/login.css
var loginStyle string

// page is a small page for people: one frame, one style, no script, nothing from elsewhere.
type page struct {
	frame  *template.Template
	policy string // its Content-Security-Policy
}

func newPage(name, frame string, b base) (*page, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(loginStyle) },
		"base":  func() string { return string(b) },
	}).Parse(frame)
	if err != nil {
		return nil, fmt.Errorf("parse the page %s: %w", name, err)
	}
	return &page{frame: t, policy: "default-src 'none'; img-src data:; style-src " + sourceHash(loginStyle) +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

// sourceHash lets a policy allow exactly this text in a page.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p *page) write(c *gin.Context, status int, view any) {
	var body bytes.Buffer
	if err := p.frame.Execute(&body, view); err != nil {
		refuse(c, fmt.Errorf("render a page: %w", err))
		return
	}
	c.Header("Content-Security-Policy", p.policy)
	c.Header("Cache-Control", "no-store")
	write(c, status, "text/html; charset=utf-8", body.Bytes())
}

// notice is a page that says what is not possible.
type notice struct{ page *page }

type noticeView struct {
	Title, Detail, RequestID string
	SignedIn                 string // the e-mail of the signed-in user; empty: none
}

func newNotice(b base) (*notice, error) {
	p, err := newPage("notice", noticeFrame, b)
	return &notice{p}, err
}

func (n *notice) refuse(c *gin.Context, e *job.Error) {
	_, title := kind(e.Code)
	view := noticeView{Title: title, Detail: sentence(e.Message), RequestID: requestID(c)}
	if p := requestInfoOf(c).caller; p != nil {
		view.SignedIn = p.Email
	}
	begin(c, e)
	n.page.write(c, c.Writer.Status(), view)
}

// sentence makes a message for programs one for people.
func sentence(message string) string {
	if message == "" {
		return ""
	}
	return strings.ToUpper(message[:1]) + strings.TrimSuffix(message[1:], ".") + "."
}
