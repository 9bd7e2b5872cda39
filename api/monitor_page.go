package api

import (
	"bytes"
	_ "embed" // what is added to asynqmon's page
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

//go:embed page/monitor.css
var monitorStyle string

//go:embed page/monitor.js
var monitorScript string

// sharedRedis gives asynqmon the API's own client. asynqmon would close it in Close, which is never
// called.
type sharedRedis struct{ client redis.UniversalClient }

func (s sharedRedis) MakeRedisClient() any { return s.client }

func newAsynqmon(b base, client redis.UniversalClient, readOnly, charts bool) http.Handler {
	o := asynqmon.Options{RootPath: string(b) + monitorRoot, RedisConnOpt: sharedRedis{client}, ReadOnly: readOnly}
	if charts {
		o.PrometheusAddress = "configured" // its page only asks whether there is one; we ask Prometheus ourselves
	}
	return asynqmon.New(o)
}

// monitorPage is asynqmon's one page as we serve it: without what it loads from elsewhere, with who
// is signed in.
type monitorPage struct {
	before, after []byte // the name of who is signed in stands between them
	policy        string
}

const whoIsSignedIn = "\x00"

// newMonitorPage takes the page from asynqmon once, and fails where it is not what we know.
func newMonitorPage(b base, m http.Handler) (*monitorPage, error) {
	got := serve(
		m,
		b,
		&http.Request{Method: http.MethodGet, URL: &url.URL{Path: monitorRoot + "/"}, Header: http.Header{}},
	)
	text := got.body.String()
	// Fonts of another host, and a manifest that browsers fetch without our cookie.
	text = regexp.MustCompile(`<link[^>]*(href="https?://|rel="manifest")[^>]*>`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`<title>[^<]*</title>`).ReplaceAllString(text, "<title>Waybill monitor</title>")
	script := strings.NewReplacer(`"/login`, `"`+string(b)+"/login", `"/monitor/`, `"`+string(b)+"/monitor/").
		Replace(monitorScript)
	text = strings.Replace(text, "</head>", "<style>"+monitorStyle+"</style><script>"+script+"</script></head>", 1)
	text = strings.Replace(
		text,
		"</body>",
		`<form class="waybill-account" method="post" action="`+string(
			b,
		)+`/logout"><span title="signed in">`+whoIsSignedIn+
			`</span><a hidden target="_blank" rel="noopener">Job</a><button type="submit">Sign out</button></form>`+
			`<div class="waybill-problem" role="alert"></div></body>`,
		1,
	)
	before, after, ok := strings.Cut(text, whoIsSignedIn)
	if !ok || !strings.Contains(before, script) || regexp.MustCompile(`(src|href)="(https?:)?//`).MatchString(text) {
		return nil, errors.New("the page of asynqmon is not the one we know")
	}
	return &monitorPage{before: []byte(before), after: []byte(after), policy: monitorPolicy(text)}, nil
}

// monitorPolicy allows the page what it is made of and nothing else. Its library writes styles into
// the page while it runs, so these cannot be named.
func monitorPolicy(text string) string {
	scripts := "'self'"
	for _, s := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(text, -1) {
		scripts += " " + sourceHash(s[1])
	}
	return fmt.Sprintf(
		"default-src 'none'; script-src %s; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src "+
			"'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		scripts,
	)
}

func (p *monitorPage) write(c *gin.Context) {
	c.Header("Content-Security-Policy", p.policy)
	write(
		c,
		http.StatusOK,
		"text/html; charset=utf-8",
		bytes.Join([][]byte{p.before, p.after}, []byte(html.EscapeString(caller(c).Email))),
	)
}

// asset serves what asynqmon's page is made of. For what is not there asynqmon answers its page, as
// it was before we changed it.
func (m *monitor) asset(c *gin.Context) {
	got := serve(m.reader, m.base, c.Request)
	kind := got.header.Get("Content-Type")
	if got.status != http.StatusOK || kind == "" {
		m.browsers.fail(c, errNoRoute)
		return
	}
	if strings.HasPrefix(c.Request.URL.Path, monitorRoot+"/static/") { // their names hold a hash
		c.Header("Cache-Control", "private, max-age=31536000, immutable")
	}
	write(c, http.StatusOK, kind, got.body.Bytes())
}

// recordedResponse is an answer that is looked at before it is sent.
type recordedResponse struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *recordedResponse) Header() http.Header         { return a.header }
func (a *recordedResponse) WriteHeader(status int)      { a.status = status }
func (a *recordedResponse) Write(b []byte) (int, error) { return a.body.Write(b) }

// serve lets h answer a GET for the path as we read it, whatever way it was written, and keeps from
// h what is none of its business.
func serve(h http.Handler, b base, r *http.Request) *recordedResponse {
	a := &recordedResponse{status: http.StatusOK, header: http.Header{}}
	clean := (&http.Request{Method: http.MethodGet, Header: http.Header{}, Body: http.NoBody,
		URL: &url.URL{Path: string(b) + r.URL.Path, RawQuery: r.URL.RawQuery}}).WithContext(r.Context())
	h.ServeHTTP(a, clean)
	return a
}
