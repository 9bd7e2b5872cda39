package job

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is what a program may branch on; it appears as `code` in every problem+json answer.
type Code string

const (
	CodeInvalid         Code = "invalid"           // 422: understood, but a value is wrong; Fields says which
	CodeMalformed       Code = "malformed"         // 400: cannot be read
	CodeUnauthenticated Code = "unauthenticated"   // 401
	CodeForbidden       Code = "forbidden"         // 403
	CodeNotFound        Code = "not_found"         // 404: missing, or not yours
	CodeConflict        Code = "conflict"          // 409: the state forbids it
	CodeKeyReused       Code = "idempotency_reuse" // 422: the Idempotency-Key came with another body before
	CodeTooMany         Code = "too_many_requests" // 429
	// 503: not done, or not known to be done; repeat with the same Idempotency-Key.
	CodeUnavailable Code = "unavailable"
)

// FieldError names one wrong value by its JSON Pointer (RFC 6901).
type FieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// PointerTo is the JSON Pointer (RFC 6901) of a member of what parent points to.
func PointerTo(parent, name string) string { return parent + "/" + pointerEscaper.Replace(name) }

// Error is what a caller may know. Everything else is wrapped, logged once at the edge, and shown
// as "internal".
type Error struct {
	Code       Code
	Message    string
	Fields     []FieldError
	State      State         // with CodeConflict: the job's state
	RetryAfter time.Duration // with CodeTooMany and CodeUnavailable: when to come back
	Fault      Fault         // with CodeUnavailable: whether what was to be written may be the cause
	Err        error         // the cause, for the log only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNotFound) true for every Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" || e == target
}

// Fault says whether a row that was to be written may be why the ledger refused a statement.
type Fault int

const (
	// FaultNone lays it to the connection, the server, or another transaction.
	FaultNone Fault = iota
	// FaultStatement may be of one of the rows: without that row the ledger may take the others.
	FaultStatement
	// FaultContent names a value. It is proven to be of a row's content where that row was written
	// alone, again and again.
	FaultContent
)

// FaultOf is the fault of the first Error in err's chain.
func FaultOf(err error) Fault {
	var e *Error
	if errors.As(err, &e) {
		return e.Fault
	}
	return FaultNone
}

// Sentinels to compare with: errors.Is(err, job.ErrNotFound).
var (
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrKeyReused   = &Error{Code: CodeKeyReused}
	ErrInvalid     = &Error{Code: CodeInvalid}
	ErrUnavailable = &Error{Code: CodeUnavailable}
)

// NotFound says that the thing named does not exist, or is not the caller's.
func NotFound(what string) *Error { return &Error{Code: CodeNotFound, Message: what + " not found"} }

// Conflict says that a job in state s does not allow what was asked.
func Conflict(s State, what string) *Error {
	return &Error{Code: CodeConflict, State: s, Message: fmt.Sprintf("a job that is %s cannot be %s", s, what)}
}

// Invalid says that one value, named by its JSON Pointer, is wrong.
func Invalid(pointer, detail string) *Error {
	return &Error{Code: CodeInvalid, Message: "the request has wrong values", Fields: []FieldError{{pointer, detail}}}
}

// Unavailable says that a service we stand on does not answer; cause is logged, not shown.
func Unavailable(message string, cause error) *Error {
	return &Error{Code: CodeUnavailable, Message: message, RetryAfter: 2 * time.Second, Err: cause}
}

// CodeOf is the code of the first Error in err's chain, or "internal".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "internal"
}
