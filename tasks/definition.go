package tasks

import "time"

// NoRetries is the MaxRetries of a task type whose jobs get one attempt only.
const NoRetries = -1

// Definition is the contract of one task type. P is the payload, a struct that encoding/json can
// read and write; R is the result. Their JSON form is what is submitted and kept.
//
// Nothing is checked when a Definition is made, so package variables need no init function. What
// cannot be offered (a bad name, a payload that is no JSON object, defaults beyond the limits) is
// an error when a server starts with it, and when a client submits with it.
type Definition[P, R any] struct {
	// Name is lower case and dotted, such as "invoice.render": letters, digits and underscores,
	// each part beginning with a letter, at most 100 bytes. http., email., command., debug. and
	// waybill. are reserved for Waybill's own types.
	Name string
	// Description is shown to people who look for what can be submitted.
	Description string

	Queue      string        // where its jobs wait unless they say otherwise; "" is "default"
	MaxRetries int           // how often a failed job is tried again; 0 is 25, NoRetries is none, 1000 at most
	Timeout    time.Duration // how long an attempt may take; 0 is 30 s, from 100 ms to 7 days
	Backoff    Backoff       // the wait between attempts; zero fields have their defaults

	// Private says that payloads may hold secrets. They are left out of logs and of Redis, and are
	// shown to the job's owner only.
	Private bool
	// Example is a payload that can be submitted; it is shown beside the schema.
	Example P
	// Check finds mistakes that the JSON Schema of P cannot express; nil finds none. It is called
	// with every payload before the job is accepted, also with one that the schema refuses, so that
	// all mistakes are reported together. Pointers are relative to the payload: "/url".
	Check func(P) []FieldError
	// Former lists older forms of the payload that the handler still reads, newest first.
	Former []Former[P]
}

// Backoff says how long a job waits between a failure and its next attempt.
type Backoff struct {
	Kind string        // Exponential or Fixed; "" is Exponential
	Base time.Duration // the first wait; 0 is 10 s
	Max  time.Duration // no wait is longer; 0 is 6 h, or Base where that is longer
}

// Kinds of Backoff. Exponential doubles the wait with each further failure. Both are spread by 20
// %, so that jobs that failed together do not come back together.
const (
	Exponential = "exponential"
	Fixed       = "fixed"
)

// FieldError is one mistake in a payload.
type FieldError struct {
	Pointer string `json:"pointer"` // a JSON Pointer (RFC 6901)
	Detail  string `json:"detail"`  // what is wrong, without repeating the value: "must not be empty"
}

// Former is an older form of a payload; see From.
type Former[P any] struct{ spec FormerSpec }

// From makes payloads of the form Old readable: up turns one into today's form. A payload that does
// not fit P is tried with each Former in turn, in the API and in the worker; the published schema
// is that of P alone.
func From[Old, P any](up func(Old) P) Former[P] { return Former[P]{newFormer(up)} }
