package api

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

const (
	checkTimeout = 2 * time.Second // for one check
	checkEvery   = time.Second     // however often strangers ask
)

// Check asks something that the API stands on whether it is there.
type Check struct {
	Name  string // shown by /readyz, which is open: "postgres"
	Ready func(ctx context.Context) error
}

type healthHandler struct {
	checks []Check
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	asked   time.Time
	missing []string // what did not answer then
}

func newHealthHandler(deps Deps) *healthHandler {
	return &healthHandler{checks: deps.Ready, log: deps.Log, now: deps.Now}
}

func (h *healthHandler) routes() []route {
	return []route{
		{Method: "GET", Path: "/healthz", Public: true, Unbounded: true, Handler: h.live},
		{Method: "GET", Path: "/readyz", Public: true, Unbounded: true, Handler: h.ready},
	}
}

type healthBody struct {
	Status string `json:"status"`
}

// live says that the process answers. It checks no other service: a database that is down is no
// reason to restart the API.
func (h *healthHandler) live(*gin.Context) (any, error) { return healthBody{"live"}, nil }

// ready says whether requests should be sent here. It names what is missing, and nothing more: why
// is in the log.
func (h *healthHandler) ready(c *gin.Context) (any, error) {
	if missing := h.check(c.Request.Context()); len(missing) > 0 {
		return nil, job.Unavailable("not ready: "+strings.Join(missing, ", "), nil)
	}
	return healthBody{"ready"}, nil
}

// check runs the checks, all at once, unless it did so a moment ago. Who asks meanwhile waits for
// the same answer.
func (h *healthHandler) check(ctx context.Context) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked.IsZero() && h.now().Sub(h.asked) < checkEvery {
		return h.missing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout) // the answer is for others too
	defer cancel()
	errs := make([]error, len(h.checks))
	var all sync.WaitGroup
	for i, check := range h.checks {
		all.Go(func() { errs[i] = check.run(ctx) })
	}
	all.Wait()
	h.note(ctx, errs)
	h.asked = h.now()
	return h.missing
}

// note keeps what is missing, and logs what has changed, with its reason.
func (h *healthHandler) note(ctx context.Context, errs []error) {
	before := strings.Join(h.missing, ", ")
	h.missing = nil
	reasons := []any{}
	for i, err := range errs {
		if err != nil {
			h.missing = append(h.missing, h.checks[i].Name)
			reasons = append(reasons, slog.Any(h.checks[i].Name, err))
		}
	}
	switch after := strings.Join(h.missing, ", "); {
	case after == before:
	case after == "":
		h.log.InfoContext(ctx, "ready again", "was_missing", before)
	default:
		h.log.WarnContext(ctx, "not ready", "missing", after, slog.Group("reasons", reasons...))
	}
}

// run asks, and takes a panic for a no.
func (k Check) run(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("check panicked: %v", v)
		}
	}()
	return k.Ready(ctx)
}
