package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"
)

// base is the path of the public URL, which the API is reached under: "/waybill", or empty. A proxy
// may take it away from the paths that it passes on, or leave it: both are answered. What answers
// name begins with it.
type base string

func baseOf(publicURL string) (base, error) {
	u, err := url.Parse(publicURL)
	if err != nil {
		return "", err
	}
	return base(strings.TrimSuffix(u.Path, "/")), nil
}

// redirect sends a browser to a path of ours.
func (b base) redirect(c *gin.Context, status int, path string) { c.Redirect(status, string(b)+path) }

// cut takes the base away from a path that has it.
func (b base) cut(path string) string {
	if rest, ok := strings.CutPrefix(path, string(b)); ok && (rest == "" || rest[0] == '/') {
		return rest
	}
	return path
}

// under serves h below the base, and at the root as well, which is where health is asked for.
func (b base) under(h http.Handler) http.Handler {
	if b == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := *r
		inner.URL = new(url.URL)
		*inner.URL = *r.URL
		inner.URL.Path = b.cut(r.URL.Path)
		if r.URL.RawPath != "" {
			inner.URL.RawPath = b.cut(r.URL.RawPath)
		}
		if inner.URL.Path == "" {
			inner.URL.Path = "/"
		}
		h.ServeHTTP(w, &inner)
	})
}
