package api

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/schedule"
)

// list answers a page of the caller's schedules, newest first; with ?owner=all, to viewers, of all
// accounts' schedules.
func (h *scheduleHandler) list(c *gin.Context) (any, error) {
	q, err := query(c, "name", "owner", "limit", "cursor")
	if err != nil {
		return nil, err
	}
	p := caller(c)
	f := job.ScheduleFilter{Name: q.Get("name")}
	if f.OwnerID, err = ownerParameter(q, p); err != nil {
		return nil, err
	}
	if f.Limit, err = limitParameter(q); err != nil {
		return nil, err
	}
	mark := listMark(p.UserID, "schedules", q)
	if f.Before, err = readCursor(q, mark); err != nil {
		return nil, err
	}
	limit := f.Limit
	f.Limit++
	list, err := h.ledger.Schedules(c.Request.Context(), f)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	list, more := cutPage(list, limit)
	page := schedulePage{schedules: list}
	if more {
		page.next = cursorAfter(list[limit-1].ID, mark)
	}
	return page, nil
}

// ticks answers a page of what became of planned times, newest first.
func (h *scheduleHandler) ticks(c *gin.Context) (any, error) {
	q, err := query(c, "outcome", "from", "to", "limit", "cursor")
	if err != nil {
		return nil, err
	}
	sch, err := h.own(c, false)
	if err != nil {
		return nil, err
	}
	f, err := tickFilter(q, sch.ID)
	if err != nil {
		return nil, err
	}
	mark := listMark(caller(c).UserID, "ticks "+sch.ID.String(), q)
	last, err := readCursor(q, mark)
	if err != nil {
		return nil, err
	}
	if !last.IsZero() {
		f.Before = plannedOf(last)
	}
	limit := f.Limit
	f.Limit++
	list, err := h.ledger.Ticks(c.Request.Context(), f)
	if err != nil {
		return nil, fmt.Errorf("list ticks of %s: %w", sch.ID, err)
	}
	list, more := cutPage(list, limit)
	page := tickPage{ticks: list}
	if more {
		page.next = cursorAfter(idOfPlanned(list[limit-1].PlannedAt), mark)
	}
	return page, nil
}

// A tick has no id: within its schedule, its planned time is one. In a cursor it takes an id's
// place, as microseconds.

func idOfPlanned(t time.Time) (id job.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(t.UnixMicro()))
	id[len(id)-1] = 1 // so that 1970 is no empty cursor
	return id
}

func plannedOf(id job.ID) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(id[:]))).UTC()
}

func tickFilter(q url.Values, id job.ID) (f job.TickFilter, err error) {
	f.ScheduleID = id
	if v := q.Get("outcome"); v != "" {
		if f.Outcome = job.Outcome(v); !slices.Contains(job.Outcomes, f.Outcome) {
			return f, badParameter("outcome", fmt.Sprintf("must be one of %q", job.Outcomes))
		}
	}
	if f.From, err = instantParameter(q, "from"); err != nil {
		return f, err
	}
	if f.Before, err = instantParameter(q, "to"); err != nil {
		return f, err
	}
	f.Limit, err = limitParameter(q)
	return f, err
}

// instantParameter reads a time; zero where it is not given.
func instantParameter(q url.Values, name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := parseInstant(v)
	if err != nil || t.Before(earliest) {
		return time.Time{}, badParameter(name, notAnInstant)
	}
	return t, nil
}

func (h *scheduleHandler) preview(c *gin.Context) (any, error) {
	q, err := query(c, "count", "after")
	if err != nil {
		return nil, err
	}
	sch, err := h.own(c, false)
	if err != nil {
		return nil, err
	}
	after, err := instantParameter(q, "after")
	if err != nil {
		return nil, err
	}
	if after.After(h.now().AddDate(maxBoundYears, 0, 0)) {
		return nil, badParameter("after", fmt.Sprintf("may lie %d years ahead", maxBoundYears))
	}
	n := defaultPreview
	if v := q.Get("count"); v != "" {
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > maxPreview {
			return nil, badParameter("count", "must be a whole number from 1 to "+strconv.Itoa(maxPreview))
		}
	}
	return h.previewOf(c, sch, after, n)
}

// previewNew answers for a schedule that need not exist.
func (h *scheduleHandler) previewNew(c *gin.Context) (any, error) {
	sch := newSchedule(caller(c).UserID)
	in := &previewSchedule{scheduleInput: newScheduleInput(sch, h.now()), count: defaultPreview}
	body, err := readBody(c, "application/json")
	if err != nil {
		return nil, err
	}
	s := &scanner{data: body}
	s.document(func() { s.expectKind('{', func() { s.members(in) }) })
	if s.stop != nil {
		return nil, s.stop
	}
	in.apply()
	s.add("", h.readTiming(s, sch))
	if err := s.err(); err != nil {
		return nil, err
	}
	return h.previewOf(c, sch, in.after, in.count)
}

func (h *scheduleHandler) previewOf(c *gin.Context, sch *job.Schedule, after time.Time, n int) (any, error) {
	times, err := h.schedules.Preview(c.Request.Context(), sch, after, n)
	if err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	return newPreviewBody(times, sch.Timezone), nil
}

// backfill says what it would do, unless dry_run is false.
func (h *scheduleHandler) backfill(c *gin.Context) (any, error) {
	if err := refuseJobs(c); err != nil {
		return nil, err
	}
	sch, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	in := backfillSchedule{Backfill: schedule.Backfill{Spacing: time.Second, DryRun: true}, now: h.now()}
	if err := bindJSON(c, &in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if !in.DryRun {
		if err := h.takeBackfill(c, sch, in.Backfill); err != nil {
			return nil, err
		}
	}
	done, err := h.schedules.Backfill(c.Request.Context(), sch.ID, in.Backfill)
	if err != nil {
		return nil, fmt.Errorf("backfill schedule %s: %w", sch.ID, err)
	}
	r := reply{Body: newBackfillBody(done, in.DryRun)}
	if !in.DryRun {
		r.Status = http.StatusAccepted
		h.quota.created(sch.OwnerID, done.Made)
		h.record(
			c,
			"schedule.backfill",
			sch,
			map[string]string{
				"from": in.From.Format(time.RFC3339),
				"to":   in.To.Format(time.RFC3339),
				"jobs": strconv.Itoa(done.Made),
			},
		)
	}
	return r, nil
}

// takeBackfill asks for room for as many jobs as b would make.
func (h *scheduleHandler) takeBackfill(c *gin.Context, sch *job.Schedule, b schedule.Backfill) error {
	b.DryRun = true
	would, err := h.schedules.Backfill(c.Request.Context(), sch.ID, b)
	if err != nil {
		return fmt.Errorf("backfill schedule %s: %w", sch.ID, err)
	}
	return h.quota.take(c, sch.OwnerID, would.Made)
}
