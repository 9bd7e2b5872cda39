package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/tasks"
)

// Error is a refusal by the API, a problem of RFC 9457.
type Error struct {
	Status     int    // of HTTP
	Code       string // what a program may branch on: "invalid", "not_found", "conflict" …
	Title      string
	Detail     string
	RequestID  string // names the request in the deployment's log
	State      string // with "conflict": the job's state
	Fields     []tasks.FieldError
	RetryAfter time.Duration // when to come back; 0: it does not say
}

// Error says what was refused and which fields are wrong.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", e.Status, cmp.Or(e.Detail, e.Title, http.StatusText(e.Status)))
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s %s", f.Pointer, f.Detail)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// IsNotFound reports whether err says that the job does not exist, or belongs to another account.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsConflict reports whether err says that the job's state does not allow what was asked.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

// IsInvalid reports whether err says that a value of the request is wrong; Error.Fields says which.
func IsInvalid(err error) bool { return hasStatus(err, http.StatusUnprocessableEntity) }

func hasStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// JobError says that a job ended otherwise than completed.
type JobError struct {
	ID      tasks.ID
	Type    string
	State   string // StateArchived or StateCanceled
	Message string // of its last failure; "": there was none
}

// Error says how the job ended, and why.
func (e *JobError) Error() string {
	text := fmt.Sprintf("job %s (%s) is %s", e.ID, e.Type, e.State)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// connectionError says that no whole answer came.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

func newError(resp *http.Response, answer []byte) *Error {
	var p struct {
		Title     string             `json:"title"`
		Detail    string             `json:"detail"`
		Code      string             `json:"code"`
		RequestID string             `json:"request_id"`
		State     string             `json:"state"`
		Errors    []tasks.FieldError `json:"errors"`
	}
	_ = json.Unmarshal(answer, &p) // a proxy's page is no problem+json: its status is all there is
	return &Error{
		Status:     resp.StatusCode,
		Code:       p.Code,
		Title:      p.Title,
		Detail:     p.Detail,
		RequestID:  p.RequestID,
		State:      p.State,
		Fields:     p.Errors,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
	}
}

func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// retryIn says whether a request may be repeated, and when.
func retryIn(err error, failures int) (time.Duration, bool) {
	wait := min(retryBase<<min(failures-1, 10), retryMax)
	wait = wait/2 + rand.N(wait/2+1)
	var lost *connectionError
	if errors.As(err, &lost) {
		return wait, true
	}
	var e *Error
	if !errors.As(err, &e) {
		return 0, false
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return max(wait, e.RetryAfter), e.RetryAfter <= maxRetryAfter
	}
	return 0, false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
