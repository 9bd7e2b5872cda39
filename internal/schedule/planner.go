package schedule

import (
	"errors"
	"sync"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// typeCheck says whether a job made from a template could be run here: nil, or what is wrong with
// it.
type typeCheck func(s job.Submission) error

// plan is what a process knows of one revision of a schedule.
type plan struct {
	revision int
	timing   *timing
	misfit   error // why its job cannot be run
}

// planner decides on schedules. It remembers how it read each: reading a zone and checking a
// payload cost more than a decision.
type planner struct {
	fits  typeCheck
	mu    sync.Mutex
	plans map[job.ID]plan
}

// maxPlans bounds what a planner remembers.
const maxPlans = 50_000

func newPlanner(f typeCheck) *planner { return &planner{fits: f, plans: map[job.ID]plan{}} }

func (p *planner) plan(s *job.Schedule) plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.plans[s.ID]; ok && known.revision == s.Revision {
		return known
	}
	made := plan{revision: s.Revision}
	if made.timing, made.misfit = readTiming(s.Timing, s.CreatedAt); made.misfit == nil {
		made.misfit = p.fits(*renderTemplate(s, made.timing.loc, sampleTime()))
	}
	if len(p.plans) >= maxPlans {
		clear(p.plans)
	}
	p.plans[s.ID] = made
	return made
}

// decide says what becomes of the due times of one schedule.
func (p *planner) decide(due *job.DueSchedule, now time.Time, left *budget) job.ScheduleDecision {
	known := p.plan(&due.Schedule)
	if known.timing == nil { // a zone that this process does not know: nothing can be said of the times to come
		d := newDecision(due, nil, now, left)
		if d.due() {
			d.tick(due.NextAt, job.Missed)
		}
		d.pause(job.ByItself, reason(known.misfit))
		return d.ScheduleDecision
	}
	d := newDecision(due, known.timing, now, left)
	if !d.due() && due.BufferedAt.IsZero() {
		return d.ScheduleDecision
	}
	if due.OwnerDisabled {
		return d.invalidTemplate(ownerDisabled)
	}
	if known.misfit != nil {
		return d.invalidTemplate(reason(known.misfit))
	}
	return d.decide()
}

// ownerDisabled is why a schedule of a disabled owner is paused. It stays paused when the owner is
// enabled again, so that nothing starts by surprise.
const ownerDisabled = "the account of its owner is disabled"

func errOwnerDisabled() error {
	return &job.Error{Code: job.CodeConflict, Message: ownerDisabled}
}

// reason is err in one line, with the first of the values that are wrong.
func reason(err error) string {
	var e *job.Error
	if errors.As(err, &e) && len(e.Fields) > 0 {
		return e.Message + ": " + e.Fields[0].Pointer + " " + e.Fields[0].Detail
	}
	return err.Error()
}
