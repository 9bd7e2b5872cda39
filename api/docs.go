package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the description of the API, the page's frame and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

//go:embed openapi.yaml
var openapi []byte

//go:embed page/docs.html
var docsFrame string

//go:embed page/docs.css
var docsStyle string

// docsHandler serves the API's own documentation: the description for machines, and a page made of
// it for people. The page needs no script and nothing from elsewhere, so that it works wherever the
// API does.
type docsHandler struct {
	page, description file
	policy            string // the page's Content-Security-Policy
	base              base
}

// file is a body that never changes while the process lives.
type file struct {
	contentType, etag string
	body              []byte
}

func newFile(contentType string, body []byte) file {
	sum := sha256.Sum256(body)
	return file{contentType: contentType, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body: body}
}

// newDocsHandler renders the page. It fails where the description and the page's frame don't fit
// each other.
func newDocsHandler(cfg Config, b base) (*docsHandler, error) {
	ref, err := readReference(openapi)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	ref.Version, ref.PublicURL = cfg.Version, orElse(strings.TrimSuffix(cfg.PublicURL, "/"), "http://127.0.0.1:8080")
	ref.Style = template.CSS(docsStyle)
	frame, err := template.New("docs").Parse(docsFrame)
	if err != nil {
		return nil, fmt.Errorf("parse the frame of the docs: %w", err)
	}
	var page bytes.Buffer
	if err := frame.Execute(&page, ref); err != nil {
		return nil, fmt.Errorf("render the docs: %w", err)
	}
	style := sha256.Sum256([]byte(docsStyle))
	return &docsHandler{
		base:        b,
		page:        newFile("text/html; charset=utf-8", page.Bytes()),
		description: newFile("application/yaml", openapi),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}, nil
}

func (h *docsHandler) routes() []route {
	return []route{
		{Method: "GET", Path: "/", Public: true, Raw: h.root},
		{Method: "GET", Path: "/docs", Public: true, Raw: h.docs},
		{Method: "GET", Path: "/openapi.yaml", Public: true, Raw: func(c *gin.Context) { h.description.serve(c) }},
	}
}

func (h *docsHandler) root(c *gin.Context) { h.base.redirect(c, http.StatusFound, "/docs") }

func (h *docsHandler) docs(c *gin.Context) {
	c.Header("Content-Security-Policy", h.policy)
	h.page.serve(c)
}

// serve answers the file, or that the client has it already.
func (f file) serve(c *gin.Context) {
	requestInfoOf(c).place.release() // the peer may take its time
	c.Header("Content-Type", f.contentType)
	c.Header("ETag", f.etag)
	c.Header("Cache-Control", "no-cache") // kept, but asked for each time
	http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(f.body))
}
