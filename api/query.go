package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	maxParameter = 512 // bytes of one parameter's value
)

// query reads the query string strictly: only the parameters named, each at most once and with a
// value. A name that ends in "." stands for all that begin with it.
func query(c *gin.Context, names ...string) (url.Values, error) {
	return parseQuery(c.Request.URL.RawQuery, names...)
}

// refuseQuery is the middleware of requests that change something: none of them takes a parameter,
// and one that is ignored may have been meant.
func refuseQuery(c *gin.Context) {
	if c.Request.URL.RawQuery == "" {
		return
	}
	if _, err := query(c); err != nil {
		refuse(c, err)
	}
}

func parseQuery(raw string, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &job.Error{Code: job.CodeMalformed, Message: "the query string cannot be read"}
	}
	for name, values := range q {
		switch {
		case !knownParameter(names, name):
			return nil, badParameter(name, "is not a parameter of this path")
		case len(values) > 1:
			return nil, badParameter(name, "is given twice")
		case values[0] == "" || len(values[0]) > maxParameter || !utf8.ValidString(values[0]) ||
			strings.Contains(values[0], "\x00"):
			return nil, badParameter(name, "has no value that makes sense")
		}
	}
	return q, nil
}

func knownParameter(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return n == name || strings.HasSuffix(n, ".") && len(name) > len(n) && strings.HasPrefix(name, n)
	})
}

func badParameter(name, detail string) error {
	return &job.Error{
		Code:    job.CodeMalformed,
		Message: "the parameter " + job.CleanText(name, maxPathShown) + " " + detail,
	}
}

// limitParameter is how many items a page shall have.
func limitParameter(q url.Values) (int, error) {
	v := q.Get("limit")
	if v == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxLimit {
		return 0, badParameter("limit", "must be a whole number from 1 to "+strconv.Itoa(maxLimit))
	}
	return n, nil
}
