package api

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxReported  = 100 // field errors in one answer
	maxPathShown = 64  // bytes of a key that are shown in a pointer
)

func (s *scanner) malformed(format string, args ...any) {
	if s.stop == nil {
		s.stop = &job.Error{Code: job.CodeMalformed, Message: fmt.Sprintf("%s, at byte %d of the body",
			fmt.Sprintf(format, args...), s.pos)}
	}
}

// refuse notes a mistake in the value at hand. The walk ends with the last one that there is room
// for in an answer.
func (s *scanner) refuse(format string, args ...any) {
	if len(s.mistakes) < maxReported {
		s.mistakes = append(s.mistakes, job.FieldError{Pointer: s.pointer(), Detail: fmt.Sprintf(format, args...)})
	}
	if len(s.mistakes) == maxReported && s.stop == nil {
		s.stop = invalid(s.mistakes)
	}
}

// pointer is the JSON Pointer (RFC 6901) of the value at hand.
func (s *scanner) pointer() string { return pointer(s.path) }

func pointer(path []step) string {
	var b []byte
	for _, p := range path {
		b = append(b, '/')
		if p.key == nil {
			b = strconv.AppendInt(b, int64(p.index), 10)
			continue
		}
		key := bytes.ReplaceAll([]byte(job.CleanText(string(p.key), maxPathShown)), []byte("~"), []byte("~0"))
		b = append(b, bytes.ReplaceAll(key, []byte("/"), []byte("~1"))...)
	}
	return string(b)
}
