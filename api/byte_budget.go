package api

import (
	"net/netip"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// network is the unit that memory is counted against: see peer.Network. The zero network is counted
// against no peer.
type network = netip.Prefix

// freeBody is how many bytes of a body, or of an answer, are not counted: a request costs about as
// much without them, and connections are bounded. Whatever others hold, a small request finds room.
const freeBody = 16 << 10

// byteBudget is a budget of bytes shared by all requests with large bodies or answers. A body takes
// from it as it arrives, so that one who announces much and sends nothing holds nothing. One user
// may have half of it, one network three quarters, so that one of them leaves something for the
// others.
type byteBudget struct {
	total, perUser, perNetwork int64

	mu       sync.Mutex
	held     int64
	users    map[job.ID]int64
	networks map[network]int64
}

// newByteBudget is a budget that has room for one body of the largest size whatever the shares.
func newByteBudget(bytes, largest int64) *byteBudget {
	return &byteBudget{
		total:      bytes,
		perUser:    max(bytes/2, min(largest, bytes)),
		perNetwork: max(bytes/4*3, min(largest, bytes)),
		users:      map[job.ID]int64{},
		networks:   map[network]int64{},
	}
}

var errNoBudget = &job.Error{
	Code:       job.CodeUnavailable,
	Message:    "too many large bodies at once",
	RetryAfter: time.Second,
}

// reservation is what one request holds of a memory. It is not for concurrent use. The zero share
// is of no memory, and free.
type reservation struct {
	of   *byteBudget
	user job.ID  // zero: not known
	from network // zero: not known
	size int64
	held int64
}

// grow takes bytes more, or answers that there are none.
func (s *reservation) grow(bytes int64) error {
	s.size += bytes
	more := max(s.size-freeBody, 0) - s.held
	if s.of == nil || more <= 0 {
		return nil
	}
	if !s.of.reserve(s.user, s.from, more) {
		s.size -= bytes
		return errNoBudget
	}
	s.held += more
	return nil
}

func (s *reservation) release() {
	if s.held > 0 {
		s.of.release(s.user, s.from, s.held)
	}
	s.size, s.held = 0, 0
}

func (m *byteBudget) reserve(user job.ID, from network, bytes int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held+bytes > m.total || !user.IsZero() && m.users[user]+bytes > m.perUser ||
		from.IsValid() && m.networks[from]+bytes > m.perNetwork {
		return false
	}
	m.held += bytes
	m.users[user] += bytes
	m.networks[from] += bytes
	return true
}

func (m *byteBudget) release(user job.ID, from network, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= bytes
	if m.users[user] -= bytes; m.users[user] == 0 {
		delete(m.users, user)
	}
	if m.networks[from] -= bytes; m.networks[from] == 0 {
		delete(m.networks, from)
	}
}
