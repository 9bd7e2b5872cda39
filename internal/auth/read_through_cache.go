package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"github.com/waybill/waybill/internal/job"
)

// loadTimeout bounds a look-up in the ledger that several requests wait for.
const loadTimeout = 5 * time.Second

// readThroughCache answers what is known of a user or key: from this process for localTTL, else
// from Redis for remoteTTL, else from the ledger. However many ask at once, one look-up is made.
// Only the ledger's word that there is no such row counts as missing.
type readThroughCache[V any] struct {
	name string
	// Of keys in Redis; processes that sign with different keys, as while keys are rotated, don't
	// share copies.
	space   string
	macKey  []byte
	breaker *redisBreaker
	now     func() time.Time
	load    func(context.Context, job.ID) (*V, error)

	flights singleflight.Group
	local   *cache[job.ID, *V] // a nil value is known to be missing
	// direct holds what changed here lately: for these Redis is passed by, since another process
	// may just have put an older copy there.
	direct *cache[job.ID, struct{}]

	mu    sync.Mutex
	epoch uint64 // goes up with each change; what was read in an older one is not kept
}

func newReadThroughCache[V any](
	name string,
	macKey []byte,
	r *redisBreaker,
	now, pace func() time.Time,
	load func(context.Context, job.ID) (*V, error),
) *readThroughCache[V] {
	space := "waybill:auth:" + name + ":" + hex.EncodeToString(hashOf(string(macKey))[:4]) + ":"
	return &readThroughCache[V]{name: name, space: space, macKey: macKey, breaker: r, now: now, load: load,
		local: newCache[job.ID, *V](maxCached, pace), direct: newCache[job.ID, struct{}](maxCached, pace)}
}

// get returns nil if there is no such row. The value is shared and must not be changed.
func (t *readThroughCache[V]) get(ctx context.Context, id job.ID) (*V, error) {
	if v, ok := t.local.get(id); ok {
		return v, nil
	}
	flight := t.flights.DoChan(id.String(), func() (any, error) {
		// Others wait for this too: it must not end with the request that happened to be first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return t.fetch(ctx, id)
	})
	select {
	case r := <-flight:
		v, _ := r.Val.(*V)
		return v, r.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", t.name, ctx.Err())
	}
}

func (t *readThroughCache[V]) fetch(ctx context.Context, id job.ID) (*V, error) {
	if v, ok := t.local.get(id); ok { // a look-up ended between our asking for it and joining it
		return v, nil
	}
	epoch := t.currentEpoch()
	_, direct := t.direct.get(id)
	if !direct {
		if v := t.fromRedis(ctx, id); v != nil {
			t.keep(id, v, epoch)
			return v, nil
		}
	}
	v, err := t.load(ctx, id)
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("look up %s: %w", t.name, err)
	}
	if t.keep(id, v, epoch) && !direct && v != nil {
		t.toRedis(ctx, id, v)
	}
	return v, nil
}

func (t *readThroughCache[V]) currentEpoch() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch
}

// keep remembers v unless something changed since it was asked for.
func (t *readThroughCache[V]) keep(id job.ID, v *V, epoch uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch != epoch {
		return false
	}
	t.local.put(id, v, localTTL)
	return true
}

// changed makes this process look again at once, and the others within localTTL + remoteTTL at the
// latest.
func (t *readThroughCache[V]) changed(ctx context.Context, ids ...job.ID) {
	if len(ids) == 0 {
		return
	}
	t.mu.Lock()
	t.epoch++
	for _, id := range ids {
		t.local.drop(id)
		t.direct.put(id, struct{}{}, 2*remoteTTL)
	}
	t.mu.Unlock()
	for _, id := range ids {
		t.flights.Forget(id.String())
	}
	_, _ = ask(ctx, t.breaker, func(ctx context.Context, c redis.UniversalClient) ([]redis.Cmder, error) {
		return c.Pipelined(ctx, func(p redis.Pipeliner) error { // in a cluster each key has a node of its own
			for _, id := range ids {
				p.Del(ctx, t.key(id))
			}
			return nil
		})
	})
}

func (t *readThroughCache[V]) key(id job.ID) string { return t.space + id.String() }

// copyOf is what stands in Redis, behind its MAC. ReadAt bounds how long it is believed, whatever
// happens to its expiry.
type copyOf[V any] struct {
	Value  V
	ReadAt time.Time
}

func (t *readThroughCache[V]) fromRedis(ctx context.Context, id job.ID) *V {
	raw, err := ask(ctx, t.breaker, func(ctx context.Context, c redis.UniversalClient) ([]byte, error) {
		return c.Get(ctx, t.key(id)).Bytes()
	})
	if err != nil {
		return nil
	}
	v, err := t.open(id, raw)
	if err != nil {
		t.breaker.log.WarnContext(ctx, "copy in redis refused", "kind", t.name, "err", err)
		return nil
	}
	return v
}

func (t *readThroughCache[V]) toRedis(ctx context.Context, id job.ID, v *V) {
	raw, err := json.Marshal(copyOf[V]{*v, t.now()})
	if err != nil { // plain fields only: cannot happen
		return
	}
	sealed := append(t.mac(id, raw), raw...)
	_, _ = ask(ctx, t.breaker, func(ctx context.Context, c redis.UniversalClient) (string, error) {
		return c.Set(ctx, t.key(id), sealed, remoteTTL).Result()
	})
}

// open answers nil for a copy that is too old, and an error for one that was not made by us for
// this id.
func (t *readThroughCache[V]) open(id job.ID, sealed []byte) (*V, error) {
	if len(sealed) < sha256.Size || !hmac.Equal(sealed[:sha256.Size], t.mac(id, sealed[sha256.Size:])) {
		return nil, errors.New("its MAC is wrong")
	}
	var c copyOf[V]
	if err := json.Unmarshal(sealed[sha256.Size:], &c); err != nil {
		return nil, err
	}
	if t.now().Sub(c.ReadAt).Abs() > 2*remoteTTL { // or it was read before the ledger's clock stepped back
		return nil, nil
	}
	return &c.Value, nil
}

func (t *readThroughCache[V]) mac(id job.ID, raw []byte) []byte {
	h := hmac.New(sha256.New, t.macKey)
	h.Write([]byte(t.key(id))) // of a fixed length for each kind: a copy fits one key only
	h.Write(raw)
	return h.Sum(nil)
}
