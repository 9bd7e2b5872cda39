package builtin

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const (
	answerTime       = 5 * time.Second // for the body, once the status is there
	maxAnswerRead    = 64 << 10        // bytes read before the connection is closed
	maxAnswerKept    = 16 << 10        // bytes of the body in the result
	maxAnswerHeaders = 20
	maxAnswerValue   = 256 // bytes of one header
)

var errAnswerTime = errors.New("the answer took too long")

// httpResult is what is kept of a good answer: headers in lower case, the first maxAnswerHeaders by
// name; everything cut and cleaned.
type httpResult struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	// Warning says that more was answered than could be read; empty: nothing is missing.
	Warning string `json:"warning,omitempty"`
}

// answerResult turns an answer into an outcome. The status decides alone: a body that breaks off or
// does not end takes nothing away from it, since repeating a request that was accepted is the worse
// mistake.
func answerResult(resp *http.Response) (*httpResult, error) {
	// Read in every case: a body read to its end frees the connection for the next request.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerRead))
	if err := statusError(resp.StatusCode, resp.Header); err != nil {
		return nil, err
	}
	return &httpResult{
		Status:  resp.StatusCode,
		Headers: keptHeaders(resp.Header),
		Body:    job.CleanText(string(body), maxAnswerKept),
	}, nil
}

// unreadResult is answerResult for an answer of which only the status could be read.
func unreadResult(status int, cause error) (*httpResult, error) {
	if err := statusError(status, nil); err != nil {
		return nil, err
	}
	return &httpResult{Status: status, Headers: map[string]string{},
		Warning: "the rest of the answer could not be read: " + job.CleanText(networkError(cause), maxAnswerValue)}, nil
}

// statusError is nil for 2xx.
func statusError(status int, header http.Header) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	err := fmt.Errorf("the endpoint answered %s", strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status))))
	switch {
	case status >= 300 && status <= 399:
		return tasks.Permanent(fmt.Errorf("%w; redirects are not followed", err))
	case !retryable(status):
		return tasks.Permanent(err)
	}
	if d, ok := parseRetryAfter(header.Get("Retry-After"), answeredAt(header)); ok {
		return tasks.RetryAfter(err, d)
	}
	return err
}

// answeredAt is the endpoint's own time where it tells it, so that a date in Retry-After means the
// same here.
func answeredAt(header http.Header) time.Time {
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		return at
	}
	return time.Now()
}

func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// keptHeaders leaves out cookies, which are credentials.
func keptHeaders(h http.Header) map[string]string {
	kept := make(map[string]string, min(len(h), maxAnswerHeaders))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if len(kept) == maxAnswerHeaders {
			break
		}
		if name != "Set-Cookie" && len(name) <= maxAnswerValue {
			kept[strings.ToLower(name)] = job.CleanText(strings.Join(h[name], ", "), maxAnswerValue)
		}
	}
	return kept
}
