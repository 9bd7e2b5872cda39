package tasks

import (
	"encoding/hex"
	"errors"
	"time"
)

// Job is what a handler is given: one attempt of one job, with its payload.
type Job[P any] struct {
	Info
	Payload P
}

// Info describes the attempt that a handler was called for.
type Info struct {
	ID            ID // the same for every attempt of the job
	OwnerID       ID // the account that submitted it
	Type          string
	Queue         string
	Attempt       int // 1 for the first; attempts that were interrupted count too
	Failures      int // attempts that failed before this one
	Interruptions int // attempts that ended with their worker
	MaxRetries    int // failures after which the job is still tried again
	Labels        map[string]string
	CreatedAt     time.Time
	Deadline      time.Time // when the job is given up; zero is never
	Traceparent   string    // W3C Trace Context of the submission; "" is none
}

// None is the result of a task type that has nothing to report. It is kept as no result at all.
type None struct{}

// ID is a UUID of version 7 (RFC 9562, section 5.7). IDs sort by the time they were made.
type ID [16]byte

// ParseID reads the canonical form: 36 characters, lower-case hex.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, errors.New("not a UUID")
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, errors.New("not a UUID")
	}
	if id.String() != s {
		return ID{}, errors.New("not a UUID in lower-case hex")
	}
	return id, nil
}

// String is the canonical form.
func (id ID) String() string {
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

// IsZero reports whether id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the canonical form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}
