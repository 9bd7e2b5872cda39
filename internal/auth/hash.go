package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/waybill/waybill/internal/job"
)

// Cost is what one argon2id hash costs (RFC 9106).
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultCost is what the OWASP Password Storage Cheat Sheet asks for: about 20 ms and 19 MiB.
func DefaultCost() Cost { return Cost{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1} }

const (
	saltBytes  = 16
	hashBytes  = 32
	maxWaiting = 64 // hashes that wait for a core; at 20 ms each that is about a second
)

// hasher hashes and compares passwords, never more at once than there are cores: each hash takes a
// core and 19 MiB.
type hasher struct {
	cost    Cost
	slots   chan struct{}
	waiting atomic.Int32
	hashed  atomic.Int64 // how often a password was hashed or compared
	dummy   string       // a hash that no password has
}

func newHasher(c Cost) (*hasher, error) {
	if c == (Cost{}) {
		c = DefaultCost()
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	h := &hasher{cost: c, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	h.dummy = c.hash(rand.Text())
	return h, nil
}

// validate also bounds what a hash read from the ledger can make us spend.
func (c Cost) validate() error {
	if c.Passes < 1 || c.Passes > 16 || c.Lanes < 1 || c.Lanes > 16 || c.MemoryKiB < 8*uint32(c.Lanes) ||
		c.MemoryKiB > 1<<20 {
		return errors.New(
			"a password's cost must be 1 to 16 passes, 1 to 16 lanes, and 8 KiB a lane to 1 GiB of memory",
		)
	}
	return nil
}

// hash answers the password's hash in the PHC string format.
func (h *hasher) hash(ctx context.Context, password string) (phc string, err error) {
	err = h.do(ctx, func() { phc = h.cost.hash(password) })
	return phc, err
}

// verify compares password with a hash; an empty hash stands for a user who does not exist, costs
// the same, and never fits. outdated says that the hash fits, but was made at another cost.
func (h *hasher) verify(ctx context.Context, password, phc string) (ok, outdated bool, err error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	cost, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, false, fmt.Errorf("read password hash: %w", err)
	}
	err = h.do(ctx, func() {
		got := argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, cost.Lanes, uint32(len(want)))
		ok = subtle.ConstantTimeCompare(got, want) == 1 && known
	})
	return ok, ok && cost != h.cost, err
}

// do runs f on a free core, or waits for one. Where too many wait already it refuses at once: an
// attack on the sign-in must not take the whole machine.
func (h *hasher) do(ctx context.Context, f func()) error {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > maxWaiting+int32(cap(h.slots)) {
		return &job.Error{
			Code:       job.CodeUnavailable,
			Message:    "too many people sign in at once",
			RetryAfter: time.Second,
		}
	}
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
	defer func() { <-h.slots }()
	h.hashed.Add(1)
	f()
	return nil
}

func (c Cost) hash(password string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand crashes the process instead
	sum := argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, c.Lanes, hashBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, c.Lanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// parsePHC reads what hash wrote.
func parsePHC(phc string) (c Cost, salt, sum []byte, err error) {
	part := strings.Split(phc, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, errors.New("not an argon2id hash")
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &c.MemoryKiB, &c.Passes, &c.Lanes); err != nil {
		return c, nil, nil, errors.New("cost cannot be read")
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(part[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(part[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(sum) < 16 || len(sum) > 64 {
		return c, nil, nil, errors.New("salt or hash cannot be read")
	}
	return c, salt, sum, c.validate()
}
