package auth

import (
	"sync"
	"time"
)

// maxCached bounds each cache: about twice as many entries of some 200 bytes are kept at most.
const maxCached = 20_000

// cache keeps values for a while, the recently used ones longest. It has two generations: when the
// young one is full it becomes the old one, and what was in the old one and not asked for meanwhile
// is gone. All steps cost the same, whatever is in it.
type cache[K comparable, V any] struct {
	mu         sync.Mutex
	now        func() time.Time
	size       int
	young, old map[K]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

func newCache[K comparable, V any](size int, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{now: now, size: size, young: make(map[K]cached[V])}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		if e, ok = c.old[key]; !ok {
			return value, false
		}
		c.set(key, e)
	}
	if !now.Before(e.until) {
		return value, false
	}
	return e.value, true
}

// put keeps a value for ttl.
func (c *cache[K, V]) put(key K, value V, ttl time.Duration) {
	until := c.now().Add(ttl)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(key, cached[V]{value, until})
}

func (c *cache[K, V]) set(key K, e cached[V]) {
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[K]cached[V])
	}
	c.young[key] = e
}

func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
}

// update replaces a value in one step. f gets the zero value where there is none.
func (c *cache[K, V]) update(key K, ttl time.Duration, f func(V) V) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		e, ok = c.old[key]
	}
	if !ok || !now.Before(e.until) {
		e = cached[V]{}
	}
	c.set(key, cached[V]{f(e.value), now.Add(ttl)})
}
