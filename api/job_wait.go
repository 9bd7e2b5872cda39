package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const (
	// maxWait is how long a request may wait for a job; a longer wait is cut. Proxies commonly end
	// silent connections after 60 s.
	maxWait = 55 * time.Second
	// rightsEvery is how often a request that waits must still be allowed.
	rightsEvery = 2 * time.Second
)

// get answers a job; with ?wait= as soon as it is finished, or as it is when the wait is over or
// this process stops.
func (h *jobHandler) get(c *gin.Context) (any, error) {
	wait, err := waitParameter(c)
	if err != nil {
		return nil, err
	}
	j, err := h.own(c, false)
	if err != nil {
		return nil, err
	}
	if wait == 0 || j.State.Finished() {
		return h.viewing.job(caller(c), j), nil
	}
	p, err := h.await(c, j, wait)
	if err != nil {
		return nil, fmt.Errorf("wait for job %s: %w", j.ID, err)
	}
	if j, err = h.jobs.Job(c.Request.Context(), j.ID); err != nil {
		return nil, fmt.Errorf("read job again: %w", err)
	}
	return h.viewing.job(p, j), nil
}

// errStopping ends the waits of a process that stops.
var errStopping = errors.New("the process stops")

// await returns when the job is finished, the wait is over or the process stops, with the caller as
// it is then: its role may have changed. An error says that the client has gone, or may not see the
// job any more.
func (h *jobHandler) await(c *gin.Context, j *job.Job, wait time.Duration) (*account.Principal, error) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), wait)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(h.stopping, func() { end(errStopping) })()
	allowed := h.stillAllowed(c, j)
	defer watchRights(ctx, allowed, end)()

	v := requestInfoOf(c)
	err := v.place.wait(ctx, h.network(v), func(ctx context.Context) error { return h.jobs.AwaitFinished(ctx, j.ID) })
	switch cause := context.Cause(ctx); {
	case err == nil, errors.Is(cause, errStopping):
	case errors.Is(err, errBusy) || c.Request.Context().Err() != nil:
		return nil, err
	case errors.Is(cause, context.DeadlineExceeded):
	case cause != nil:
		return nil, cause
	default:
		return nil, err
	}
	return allowed(c.Request.Context())
}

// stillAllowed asks again what was asked before the wait began. It may be called while the request
// waits.
func (h *jobHandler) stillAllowed(c *gin.Context, j *job.Job) func(context.Context) (*account.Principal, error) {
	rights, authorization := requestInfoOf(c).rights, slices.Clone(c.Request.Header["Authorization"])
	return func(ctx context.Context) (*account.Principal, error) {
		p, err := rights.again(ctx, h.deps.Auth, authorization)
		if err != nil {
			return nil, err
		}
		return p, mayRead(p, j)
	}
}

// watchRights ends a wait with the caller's rights. Where they cannot be asked for at the moment,
// the wait goes on.
func watchRights(
	ctx context.Context,
	allowed func(context.Context) (*account.Principal, error),
	end context.CancelCauseFunc,
) (stop func()) {
	var again func()
	again = func() {
		_, err := allowed(ctx)
		switch {
		case ctx.Err() != nil: // the wait is over
		case err != nil && job.CodeOf(err) != job.CodeUnavailable:
			end(err)
		default:
			time.AfterFunc(rightsEvery, again)
		}
	}
	first := time.AfterFunc(rightsEvery, again)
	return func() { first.Stop() }
}

func waitParameter(c *gin.Context) (time.Duration, error) {
	q, err := query(c, "wait")
	if err != nil || q.Get("wait") == "" {
		return 0, err
	}
	d, err := time.ParseDuration(q.Get("wait"))
	if err != nil || d < 0 {
		return 0, badParameter(
			"wait",
			`must be a duration such as "30s"; more than `+duration(maxWait)+` is cut to that`,
		)
	}
	return min(d, maxWait), nil
}
