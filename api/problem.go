package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// Codes that only HTTP knows, beside those of internal/job.
const (
	codeInternal        job.Code = "internal"
	codeMediaType       job.Code = "unsupported_media_type"
	codeTooLarge        job.Code = "too_large"
	codeMethod          job.Code = "method_not_allowed"
	codeURITooLong      job.Code = "uri_too_long"
	codeHeadersTooLarge job.Code = "headers_too_large"
	codeTimeout         job.Code = "request_timeout"
	codePasswordChange  job.Code = "password_change_required"
)

var (
	errNoRoute  = &job.Error{Code: job.CodeNotFound, Message: "there is nothing at this path"}
	errNoMethod = &job.Error{Code: codeMethod, Message: "this path knows other methods: see the Allow header"}
)

// problem is an answer of RFC 9457. Its texts are safe to show to every caller.
type problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail,omitempty"`
	Code      job.Code         `json:"code"`
	RequestID string           `json:"request_id"`
	State     job.State        `json:"state,omitempty"`
	Errors    []job.FieldError `json:"errors,omitempty"`
}

// kind is the HTTP face of a code.
func kind(code job.Code) (status int, title string) {
	switch code {
	case job.CodeInvalid:
		return http.StatusUnprocessableEntity, "A value is wrong"
	case job.CodeMalformed:
		return http.StatusBadRequest, "The request cannot be read"
	case job.CodeUnauthenticated:
		return http.StatusUnauthorized, "Not signed in"
	case job.CodeForbidden:
		return http.StatusForbidden, "Not allowed"
	case job.CodeNotFound:
		return http.StatusNotFound, "Not found"
	case job.CodeConflict:
		return http.StatusConflict, "The state forbids it"
	case job.CodeKeyReused:
		return http.StatusUnprocessableEntity, "The Idempotency-Key was used for another request"
	case job.CodeTooMany:
		return http.StatusTooManyRequests, "Too many requests"
	case job.CodeUnavailable:
		return http.StatusServiceUnavailable, "Not available"
	}
	return transportKind(code)
}

func transportKind(code job.Code) (status int, title string) {
	switch code {
	case codePasswordChange:
		return http.StatusForbidden, "The password must be changed first"
	case codeMediaType:
		return http.StatusUnsupportedMediaType, "The body's type is not understood"
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge, "The body is too large"
	case codeMethod:
		return http.StatusMethodNotAllowed, "Method not allowed"
	case codeURITooLong:
		return http.StatusRequestURITooLong, "The URL is too long"
	case codeHeadersTooLarge:
		return http.StatusRequestHeaderFieldsTooLarge, "The headers are too large"
	case codeTimeout:
		return http.StatusRequestTimeout, "The body did not arrive in time"
	}
	return http.StatusInternalServerError, "Something went wrong on our side"
}

// known turns err into what may be shown. What is no job.Error is shown as "internal"; running out
// of time means that a service we stand on was too slow, and that it is not known whether the action
// was done.
func known(err error) *job.Error {
	var e *job.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return job.Unavailable("this took too long", err)
	default:
		return &job.Error{Code: codeInternal, Message: "the request id helps us find out what", Err: err}
	}
}

// refuse answers err and ends the chain. Where the client has gone, nothing is written. The access
// log names the cause.
func refuse(c *gin.Context, err error) {
	c.Abort()
	_ = c.Error(err)
	if c.Request.Context().Err() != nil && errors.Is(err, context.Canceled) {
		c.Status(statusClientGone)
		return
	}
	e := known(err)
	status, title := kind(e.Code)
	setProblemHeaders(c, e)
	body, err := json.Marshal(problem{
		Type: string(
			requestInfoOf(c).base,
		) + "/docs#problem-" + strings.ReplaceAll(
			string(e.Code),
			"_",
			"-",
		), Title: title, Status: status,
		Detail: e.Message, Code: e.Code, RequestID: requestID(c), State: e.State, Errors: e.Fields,
	})
	if err != nil { // strings and numbers only: cannot happen
		c.Status(status)
		return
	}
	write(c, status, "application/problem+json", append(body, '\n'))
}

// setProblemHeaders writes what RFC 9110 asks to come with a status: how to sign in, when to come
// back, that the connection ends.
func setProblemHeaders(c *gin.Context, e *job.Error) {
	switch e.Code {
	case job.CodeUnauthenticated:
		challenge := `Bearer realm="waybill"`
		if len(c.Request.Header["Authorization"]) > 0 {
			challenge += `, error="invalid_token"`
		}
		c.Header("WWW-Authenticate", challenge)
	case job.CodeTooMany, job.CodeUnavailable:
		seconds := math.Ceil(max(e.RetryAfter, time.Second).Seconds())
		c.Header("Retry-After", strconv.Itoa(int(seconds)))
	case codeTooLarge:
		c.Header("Connection", "close") // rather than to read what is not wanted
	}
}
