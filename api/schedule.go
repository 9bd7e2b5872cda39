package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/schedule"
)

// scheduler changes schedules. What it answers with is a job.Error where the caller may know it.
type scheduler interface {
	Create(ctx context.Context, s job.Schedule) (*job.Schedule, error)
	// Change lets alter change a schedule as it stands; an error of alter changes nothing and comes
	// back.
	Change(ctx context.Context, id job.ID, alter func(*job.Schedule) error) (*job.Schedule, error)
	Pause(ctx context.Context, id job.ID, by, reason string) (*job.Schedule, error)
	Resume(ctx context.Context, id job.ID) (*job.Schedule, error)
	Delete(ctx context.Context, id job.ID) (*job.Schedule, error)
	// Trigger makes a job now, or finds the tick that a request of this key made before: replayed.
	// Empty: it has no key.
	Trigger(ctx context.Context, id job.ID, key string) (tick *job.Tick, replayed bool, err error)
	Backfill(ctx context.Context, id job.ID, b schedule.Backfill) (*schedule.Backfilled, error)
	Preview(ctx context.Context, s *job.Schedule, after time.Time, n int) ([]time.Time, error)
	// Mistakes names what is wrong with when a schedule runs.
	Mistakes(s *job.Schedule) []job.FieldError
}

// scheduleLedger is where schedules and what became of their planned times are read.
type scheduleLedger interface {
	Schedule(ctx context.Context, id job.ID) (*job.Schedule, error)
	Schedules(ctx context.Context, f job.ScheduleFilter) ([]*job.Schedule, error)
	Ticks(ctx context.Context, f job.TickFilter) ([]job.Tick, error)
	// LastPlanned is the last planned time of each schedule that has been decided. Schedules
	// without one are left out.
	LastPlanned(ctx context.Context, ids []job.ID) (map[job.ID]time.Time, error)
}

type scheduleHandler struct {
	check     checker
	schedules scheduler
	ledger    scheduleLedger
	audit     auditor
	quota     *quota
	viewing   viewing
	now       func() time.Time
}

func newScheduleHandler(cfg Config, deps Deps, q *quota) *scheduleHandler {
	return &scheduleHandler{
		check:     checker{tasks: deps.Tasks, queues: cfg.Queues},
		schedules: deps.Schedules,
		ledger:    deps.ScheduleLedger,
		audit:     deps.Audit,
		quota:     q,
		viewing:   viewing{deps.Tasks},
		now:       deps.LedgerNow,
	}
}

func (h *scheduleHandler) routes() []route {
	const read, write = account.ScopeJobsRead, account.ScopeJobsWrite
	user := account.RoleUser
	return []route{
		{Method: "POST", Path: "/v1/schedules", Role: user, Scope: write, Handler: h.create},
		{Method: "GET", Path: "/v1/schedules", Role: user, Scope: read, Handler: h.list},
		{Method: "POST", Path: "/v1/schedules/preview", Role: user, Scope: read, Handler: h.previewNew},
		{Method: "GET", Path: "/v1/schedules/:id", Role: user, Scope: read, Handler: h.get},
		{Method: "PATCH", Path: "/v1/schedules/:id", Role: user, Scope: write, Handler: h.change},
		{Method: "DELETE", Path: "/v1/schedules/:id", Role: user, Scope: write, Handler: h.delete},
		{
			Method:  "POST",
			Path:    "/v1/schedules/:id/pause",
			Role:    user,
			Scope:   write,
			Handler: h.pause,
			MaxBody: smallBody,
		},
		{
			Method:  "POST",
			Path:    "/v1/schedules/:id/resume",
			Role:    user,
			Scope:   write,
			Handler: h.resume,
			MaxBody: smallBody,
		},
		{
			Method:  "POST",
			Path:    "/v1/schedules/:id/trigger",
			Role:    user,
			Scope:   write,
			Handler: h.trigger,
			MaxBody: smallBody,
		},
		{
			Method:  "POST",
			Path:    "/v1/schedules/:id/backfill",
			Role:    user,
			Scope:   write,
			Handler: h.backfill,
			MaxBody: smallBody,
		},
		{Method: "GET", Path: "/v1/schedules/:id/preview", Role: user, Scope: read, Handler: h.preview},
		{Method: "GET", Path: "/v1/schedules/:id/ticks", Role: user, Scope: read, Handler: h.ticks},
	}
}

func (h *scheduleHandler) create(c *gin.Context) (any, error) {
	body, err := readBody(c, "application/json")
	if err != nil {
		return nil, err
	}
	sch := newSchedule(caller(c).UserID)
	if err := h.read(body, newScheduleInput(sch, h.now()), sch); err != nil {
		return nil, err
	}
	made, err := h.schedules.Create(c.Request.Context(), *sch)
	if err != nil {
		return nil, fmt.Errorf("create schedule: %w", err)
	}
	h.record(c, "schedule.create", made, nil)
	return reply{
		Status:   http.StatusCreated,
		Location: "/v1/schedules/" + made.ID.String(),
		Body:     scheduleBody{made},
	}, nil
}

// change takes the fields that are given; the schedule plans again from now on.
func (h *scheduleHandler) change(c *gin.Context) (any, error) {
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	body, err := readBody(c, "application/json")
	if err != nil {
		return nil, err
	}
	after, err := h.schedules.Change(c.Request.Context(), sch.ID, func(sch *job.Schedule) error {
		in := newScheduleInput(sch, h.now())
		in.change = true
		return h.read(body, in, sch)
	})
	if err != nil {
		return nil, fmt.Errorf("change schedule %s: %w", sch.ID, err)
	}
	h.record(c, "schedule.change", after, nil)
	return scheduleBody{after}, nil
}

// own reads the schedule named in the path, if the caller may see it; otherwise it does not exist
// for the caller. With act set the caller must also be allowed to change it.
func (h *scheduleHandler) own(c *gin.Context, act bool) (*job.Schedule, error) {
	id, err := job.ParseID(c.Param("id"))
	if err != nil {
		return nil, job.NotFound("schedule")
	}
	sch, err := h.ledger.Schedule(c.Request.Context(), id)
	if err != nil {
		return nil, fmt.Errorf("read schedule %s: %w", id, err)
	}
	p := caller(c)
	switch {
	case sch.OwnerID == p.UserID:
		return sch, nil
	case !p.Role.Includes(account.RoleViewer):
		return nil, job.NotFound("schedule")
	case act && !p.Role.Includes(account.RoleOperator):
		return nil, forbidden("this needs the role operator")
	}
	return sch, nil
}

func (h *scheduleHandler) get(c *gin.Context) (any, error) {
	sch, err := h.own(c, false)
	if err != nil {
		return nil, err
	}
	return h.viewing.schedule(caller(c), sch), nil
}

func (h *scheduleHandler) delete(c *gin.Context) (any, error) {
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	if _, err := h.schedules.Delete(c.Request.Context(), sch.ID); err != nil {
		return nil, fmt.Errorf("delete schedule %s: %w", sch.ID, err)
	}
	h.record(c, "schedule.delete", sch, nil)
	return nil, nil
}

func (h *scheduleHandler) pause(c *gin.Context) (any, error) {
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	var in pauseSchedule
	if c.Request.ContentLength != 0 { // a reason is welcome, not required
		if err := bindJSON(c, &in); err != nil {
			return nil, err
		}
	}
	after, err := h.schedules.Pause(c.Request.Context(), sch.ID, caller(c).Email, in.reason)
	if err != nil {
		return nil, fmt.Errorf("pause schedule %s: %w", sch.ID, err)
	}
	h.record(c, "schedule.pause", after, map[string]string{"reason": in.reason})
	return scheduleBody{after}, nil
}

func (h *scheduleHandler) resume(c *gin.Context) (any, error) {
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	after, err := h.schedules.Resume(c.Request.Context(), sch.ID)
	if err != nil {
		return nil, fmt.Errorf("resume schedule %s: %w", sch.ID, err)
	}
	h.record(c, "schedule.resume", after, nil)
	return scheduleBody{after}, nil
}

// trigger makes a job now. Like POST /v1/jobs it answers when the job is committed.
func (h *scheduleHandler) trigger(c *gin.Context) (any, error) {
	if err := refuseJobs(c); err != nil {
		return nil, err
	}
	key, err := idempotencyKey(c, job.MaxIdempotency)
	if err != nil {
		return nil, err
	}
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	if c.Request.ContentLength != 0 { // who sends a payload is told that it has no part in this
		if err := bindJSON(c, emptyBody{}); err != nil {
			return nil, err
		}
	}
	if err := h.quota.take(c, sch.OwnerID, 1); err != nil {
		return nil, err
	}
	if key != "" { // operators have keys of their own
		key = caller(c).UserID.String() + " " + key
	}
	tick, replayed, err := h.schedules.Trigger(c.Request.Context(), sch.ID, key)
	if err != nil {
		return nil, fmt.Errorf("trigger schedule %s: %w", sch.ID, err)
	}
	if !replayed {
		h.quota.created(sch.OwnerID, 1)
		h.record(c, "schedule.trigger", sch, map[string]string{"job_id": tick.JobID.String()})
	}
	return reply{
		Status:   http.StatusAccepted,
		Location: "/v1/jobs/" + tick.JobID.String(),
		Replayed: replayed,
		Body:     tickBody(*tick),
	}, nil
}

func (h *scheduleHandler) record(c *gin.Context, action string, s *job.Schedule, detail map[string]string) {
	e := newAuditEntry(c, h.now(), action, s.ID.String())
	e.Detail = map[string]string{"name": s.Name, "owner_id": s.OwnerID.String()}
	for k, v := range detail {
		e.Detail[k] = v
	}
	h.audit.Record(c.Request.Context(), e)
}
