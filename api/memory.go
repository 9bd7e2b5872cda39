package api

import (
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// memory is a budget of bytes shared by all requests with large bodies. A body takes from it as it arrives, so that who
// announces much and sends nothing holds nothing.
type memory struct{ left atomic.Int64 }

func newMemory(bytes int64) *memory {
	m := new(memory)
	m.left.Store(bytes)
	return m
}

// share is what one request holds of a memory. It is not for concurrent use.
type share struct {
	of   *memory
	held int64
}

func (m *memory) hold() *share { return &share{of: m} }

// grow takes bytes more, or answers that there are none: then the caller gives up and releases.
func (s *share) grow(bytes int64) error {
	if s.of.left.Add(-bytes) < 0 {
		s.of.left.Add(bytes)
		return &job.Error{Code: job.CodeUnavailable, Message: "too many large bodies at once", RetryAfter: time.Second}
	}
	s.held += bytes
	return nil
}

func (s *share) release() {
	s.of.left.Add(s.held)
	s.held = 0
}
