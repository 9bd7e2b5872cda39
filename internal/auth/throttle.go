package auth

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/job"
)

// Limits bound how often authentication may fail.
type Limits struct {
	Account  Limit // failures to sign in to one account
	Network  Limit // failures to sign in from one address (IPv6: one /64)
	Register Limit // registrations from one address
}

// DefaultLimits allow for typing errors and for offices that share one address, and make guessing
// hopeless: a stranger gets 1,440 tries a day for one account.
func DefaultLimits() Limits {
	return Limits{
		Account:  Limit{Every: time.Minute, Burst: 20},
		Network:  Limit{Every: 6 * time.Second, Burst: 100},
		Register: Limit{Every: 10 * time.Second, Burst: 100},
	}
}

func (l Limits) validate() error {
	for _, one := range []Limit{l.Account, l.Network, l.Register} {
		if one.Every < time.Millisecond || one.Burst < 1 || one.full() > 24*time.Hour || one.full() <= 0 {
			return errors.New("a limit needs a burst of 1 at least, and must forget all of it within a day")
		}
	}
	return nil
}

// knownFor is how long an address that signed in to an account counts as its owner's.
const knownFor = 30 * 24 * time.Hour

// throttle slows down who guesses. It counts failures only: a try is counted before the password is
// looked at, so that many at once don't slip through, and taken back when it was right. A user is
// never locked out by others, be it by those who guess his password from elsewhere or by those who
// share his address: where the account was signed in to from the address lately, tries for this
// pair are counted in a bucket of their own.
type throttle struct {
	buckets *buckets
	known   *cache[string, struct{}]
}

func newThrottle(r *redisBreaker, now func() time.Time) *throttle {
	return &throttle{buckets: newBuckets(r, now), known: newCache[string, struct{}](maxCached, now)}
}

// try is one attempt that is under way.
type try struct {
	t     *throttle
	taken []held
	pair  string // names the account and the address
}

type held struct {
	name  string
	limit Limit
}

// signIn counts a try to sign in to the account of email. The error is job.CodeTooMany and says
// when to come back.
func (t *throttle) signIn(ctx context.Context, l Limits, email, network string) (*try, error) {
	y := &try{t: t, pair: throttleName("known", email+"\x00"+network)}
	var err error
	if network != "" {
		err = y.take(ctx, throttleName("network", network), l.Network)
	}
	if err == nil {
		err = y.take(ctx, throttleName("account", email), l.Account)
	}
	if err != nil && network != "" && t.isKnown(ctx, y.pair) {
		err = y.take(ctx, throttleName("pair", email+"\x00"+network), l.Account)
	}
	if err != nil {
		y.undo(ctx)
		return nil, err
	}
	return y, nil
}

// one counts a try in a single bucket. No name: nothing to count against.
func (t *throttle) one(ctx context.Context, kind, whose string, l Limit) (*try, error) {
	y := &try{t: t}
	if whose == "" {
		return y, nil
	}
	return y, y.take(ctx, throttleName(kind, whose), l)
}

func (y *try) take(ctx context.Context, name string, l Limit) error {
	if wait := y.t.buckets.add(ctx, name, l); wait > 0 {
		return &job.Error{Code: job.CodeTooMany, Message: "too many tries: wait a little", RetryAfter: wait}
	}
	y.taken = append(y.taken, held{name, l})
	return nil
}

// undo makes the try uncounted: it was right, or it could not be decided.
func (y *try) undo(ctx context.Context) {
	for _, h := range y.taken {
		y.t.buckets.remove(context.WithoutCancel(ctx), h.name, h.limit)
	}
	y.taken = nil
}

// succeeded makes the try uncounted, and its address known.
func (y *try) succeeded(ctx context.Context) {
	y.undo(ctx)
	y.t.known.put(y.pair, struct{}{}, knownFor)
	_, _ = ask(ctx, y.t.buckets.breaker, func(ctx context.Context, c redis.UniversalClient) (string, error) {
		return c.Set(ctx, y.pair, 1, knownFor).Result()
	})
}

func (t *throttle) isKnown(ctx context.Context, pair string) bool {
	if _, ok := t.known.get(pair); ok {
		return true
	}
	n, err := ask(ctx, t.buckets.breaker, func(ctx context.Context, c redis.UniversalClient) (int64, error) {
		return c.Exists(ctx, pair).Result()
	})
	return err == nil && n == 1
}
