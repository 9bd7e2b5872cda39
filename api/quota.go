package api

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"github.com/waybill/waybill/internal/job"
)

const (
	recountEvery = 5 * time.Second // how often a user's open jobs are counted at most
	maxUsage     = 10_000          // users whose usage is remembered at once
	usageIdle    = time.Minute     // who was quiet for so long may be forgotten
)

// openCounter counts a user's open jobs, but not beyond limit.
type openCounter interface {
	OpenJobs(ctx context.Context, owner job.ID, limit int) (int, error)
}

// quota bounds what each user submits: how fast, and how much that is not finished. It lives in
// this process: with several API processes each grants the whole rate, and the open jobs may pass
// the limit by what the others took since the last count.
type quota struct {
	cfg    QuotaConfig
	jobs   openCounter
	now    func() time.Time
	policy []string // the limits, as clients are told

	mu    sync.Mutex
	users map[job.ID]*usage
}

// usage is what one user took. Its fields belong to quota.mu; the limiter has a lock of its own.
type usage struct {
	limiter *rate.Limiter
	seen    time.Time
	counted time.Time // when the last count began; zero: never
	open    int       // the last count, and what was created since
}

func newQuota(cfg QuotaConfig, jobs openCounter, now func() time.Time) *quota {
	window := math.Ceil(float64(cfg.Burst) / cfg.RatePerSecond)
	policy := fmt.Sprintf(`"submissions";q=%d;w=%.0f, "open-jobs";q=%d`, cfg.Burst, window, cfg.MaxOpen)
	return &quota{cfg: cfg, jobs: jobs, now: now, policy: []string{policy}, users: map[job.ID]*usage{}}
}

// take asks for room for n more jobs, and tells the client in headers what is left
// (draft-ietf-httpapi-ratelimit-headers).
func (q *quota) take(c *gin.Context, user job.ID, n int) error { return q.takeRest(c, user, n, 0) }

// takeRest is take for n jobs of which some were paid for before.
func (q *quota) takeRest(c *gin.Context, user job.ID, n, paid int) error {
	now := q.now()
	u, open, recount := q.usage(user, now)
	if recount {
		var err error
		if open, err = q.recount(c.Request.Context(), user, u); err != nil {
			return err
		}
	}
	full := open+n > q.cfg.MaxOpen
	var wait time.Duration
	if !full {
		wait = spend(u.limiter, now, n-paid)
	}
	q.show(c, u.limiter.TokensAt(now), open)
	switch {
	case full:
		return &job.Error{Code: job.CodeTooMany, RetryAfter: recountEvery,
			Message: fmt.Sprintf("a user may have %d jobs that are not finished", q.cfg.MaxOpen)}
	case wait > 0:
		return &job.Error{Code: job.CodeTooMany, RetryAfter: wait,
			Message: fmt.Sprintf("a user may submit %g jobs a second", q.cfg.RatePerSecond)}
	}
	return nil
}

// spend takes n tokens, or none and says when there will be enough.
func spend(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l.AllowN(now, n) { // as nearly always; a reservation would be garbage
		return 0
	}
	r := l.ReserveN(now, n)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// usage finds what the user took so far, and says whether it is time to count. It counts only who
// may be near the limit.
func (q *quota) usage(user job.ID, now time.Time) (u *usage, open int, recount bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u = q.users[user]
	if u == nil {
		q.forget(now)
		u = &usage{limiter: rate.NewLimiter(rate.Limit(q.cfg.RatePerSecond), q.cfg.Burst)}
		q.users[user] = u
	}
	u.seen = now
	recount = u.open > q.cfg.MaxOpen/2 && now.Sub(u.counted) >= recountEvery
	if recount {
		u.counted = now // others go on with the estimate meanwhile
	}
	return u, u.open, recount
}

// recount asks the ledger. What was created while it counted is counted on top: rather too many
// than too few.
func (q *quota) recount(ctx context.Context, user job.ID, u *usage) (int, error) {
	q.mu.Lock()
	before := u.open
	q.mu.Unlock()
	counted, err := q.jobs.OpenJobs(ctx, user, q.cfg.MaxOpen+1)
	if err != nil {
		return 0, fmt.Errorf("count open jobs: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u.open += counted - before
	return u.open, nil
}

// created notes that n jobs were written down.
func (q *quota) created(user job.ID, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.users[user]; u != nil {
		u.open += n
	}
}

// forget makes room for one more user: it drops one that was idle for a while, or any. Called with
// mu held.
func (q *quota) forget(now time.Time) {
	if len(q.users) < maxUsage {
		return
	}
	for id, u := range q.users {
		if now.Sub(u.seen) > usageIdle {
			delete(q.users, id)
		}
	}
	for id := range q.users {
		if len(q.users) < maxUsage*9/10 { // so that not every stranger makes it walk over all
			return
		}
		delete(q.users, id)
	}
}

// show tells what is left, and in how many seconds the tokens will be whole again.
func (q *quota) show(c *gin.Context, tokens float64, open int) {
	whole := math.Ceil((float64(q.cfg.Burst) - tokens) / q.cfg.RatePerSecond)
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(append(b, `"submissions";r=`...), int64(max(tokens, 0)), 10)
	b = strconv.AppendInt(append(b, `;t=`...), int64(max(whole, 0)), 10)
	b = strconv.AppendInt(append(b, `, "open-jobs";r=`...), int64(max(q.cfg.MaxOpen-open, 0)), 10)
	h, v := c.Writer.Header(), requestInfoOf(c)
	v.rateLimit[0] = string(b)
	h["Ratelimit-Policy"], h["Ratelimit"] = q.policy, v.rateLimit[:]
}
