package schedule

import (
	"bytes"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	// onTime is how late a planned time may be decided and still count as on time. Restarting the
	// only worker takes less.
	onTime = 10 * time.Second
	// maxTicks bounds the planned times of one schedule in one transaction; the rest follow in the
	// next one.
	maxTicks = 500
)

// budget bounds one transaction.
type budget struct {
	ticks, bytes int
	rooms        map[job.ID]int // how many more jobs each owner may have; no entry: as many as there is room for
}

// fullBudget is what one commit takes: a second's work of a busy deployment, and no more memory
// than a batch of jobs.
func fullBudget() *budget { return &budget{ticks: 2000, bytes: 16 << 20} }

func (b *budget) spent() bool { return b.ticks <= 0 || b.bytes <= 0 }

// full reports whether an owner has as many open jobs as he may.
func (b *budget) full(owner job.ID) bool {
	room, bounded := b.rooms[owner]
	return bounded && room <= 0
}

func (b *budget) spend(sub *job.Submission) {
	b.bytes -= len(sub.Payload)
	if _, bounded := b.rooms[sub.OwnerID]; bounded {
		b.rooms[sub.OwnerID]--
	}
}

// decision is one schedule while its due times are decided, oldest first.
type decision struct {
	job.ScheduleDecision
	timing *timing
	now    time.Time
	open   []job.ID
	left   *budget

	ownerDisabled bool
}

func newDecision(due *job.DueSchedule, t *timing, now time.Time, left *budget) *decision {
	return &decision{
		ScheduleDecision: job.ScheduleDecision{Schedule: due.Schedule},
		timing:           t,
		now:              now,
		open:             due.Open,
		left:             left,
		ownerDisabled:    due.OwnerDisabled,
	}
}

// decide gives a buffered time its job, if nothing stands in its way, and then says of each due
// time what becomes of it. The next time follows from the schedule, never from now.
func (d *decision) decide() job.ScheduleDecision {
	d.release()
	s := &d.Schedule
	for n := 0; n < maxTicks && d.due() && !d.left.spent(); n++ {
		planned := s.NextAt
		s.NextAt = d.timing.next(planned)
		d.tick(planned, d.decideTick(planned, s.NextAt))
	}
	d.keepOpen()
	return d.ScheduleDecision
}

// keepOpen notes from where on the schedule's open jobs are found.
func (d *decision) keepOpen() {
	if len(d.open) > 0 {
		// Ids of several processes.
		d.Schedule.OpenFrom = slices.MinFunc(d.open, func(a, b job.ID) int { return bytes.Compare(a[:], b[:]) })
	}
}

// decideTick says whether planned is on time, is made up for, or was missed; following is the
// planned time after it.
func (d *decision) decideTick(planned, following time.Time) job.Outcome {
	s := &d.Schedule
	late := func(t time.Time) bool { return d.now.Sub(t) > onTime }
	switch {
	case !late(planned):
		return job.Fired
	case d.now.Sub(planned) > s.MissedWindow:
		return job.Missed
	case s.Missed == job.MissedAll:
		return job.CaughtUp
	case s.Missed == job.MissedLatest && (following.IsZero() || !late(following)):
		return job.CaughtUp
	}
	return job.Missed
}

// tick writes planned down; what shall have a job gets it as far as its owner's quota and earlier
// jobs allow.
func (d *decision) tick(planned time.Time, outcome job.Outcome) {
	if d.left.full(d.Schedule.OwnerID) {
		outcome = job.Missed
	}
	if outcome != job.Missed && len(d.open) > 0 {
		switch s := &d.Schedule; s.Overlap {
		case job.OverlapSkip:
			outcome = job.SkippedOverlap
		case job.OverlapBuffer:
			if outcome = job.SkippedOverlap; s.BufferedAt.IsZero() {
				outcome, s.BufferedAt = job.Buffered, planned
			}
		case job.OverlapCancel:
			d.cancelOpen()
		}
	}
	d.left.ticks--
	switch outcome {
	case job.Fired, job.CaughtUp:
		d.run(planned, outcome)
	default:
		d.Ticks = append(d.Ticks, job.PlannedTick{PlannedAt: planned, Outcome: outcome})
	}
}

func (d *decision) run(planned time.Time, outcome job.Outcome) {
	sub := renderTemplate(&d.Schedule, d.timing.loc, planned)
	d.Ticks = append(
		d.Ticks,
		job.PlannedTick{PlannedAt: planned, Outcome: outcome, Job: sub, Redo: outcome == job.Buffered},
	)
	d.left.spend(sub)
	if d.Schedule.Overlap != job.OverlapAllow {
		d.open = append(d.open, sub.ID)
	}
}

// cancelOpen calls the earlier jobs off, those of this very transaction too.
func (d *decision) cancelOpen() {
	d.Cancel = append(d.Cancel, d.open...)
	d.open = nil
}

// release gives the buffered time its job when the earlier ones are finished.
func (d *decision) release() {
	s := &d.Schedule
	if s.BufferedAt.IsZero() || len(d.open) > 0 && s.Overlap == job.OverlapBuffer {
		return
	}
	d.run(s.BufferedAt, job.Buffered)
	s.BufferedAt = time.Time{}
}

// unbuffer passes over the buffered time, for a schedule that is paused or deleted.
func (d *decision) unbuffer() {
	if s := &d.Schedule; !s.BufferedAt.IsZero() {
		d.Ticks = append(d.Ticks, job.PlannedTick{PlannedAt: s.BufferedAt, Outcome: job.SkippedOverlap, Redo: true})
		s.BufferedAt = time.Time{}
	}
}

// pause stops planning. What was due has been decided before.
func (d *decision) pause(by, reason string) {
	d.unbuffer()
	s := &d.Schedule
	s.NextAt, s.PausedAt, s.PausedBy, s.PauseReason = time.Time{}, d.now, by, reason
}

// invalidTemplate pauses a schedule whose job could not be run, after saying of each due time that
// it was missed.
func (d *decision) invalidTemplate(reason string) job.ScheduleDecision {
	d.unbuffer()
	for n := 0; n < maxTicks && d.due() && !d.left.spent(); n++ {
		planned := d.Schedule.NextAt
		d.Schedule.NextAt = d.timing.next(planned)
		d.tick(planned, job.Missed)
	}
	if !d.due() {
		d.pause(job.ByItself, job.CleanText(reason, job.MaxScheduleReason))
	}
	return d.ScheduleDecision
}

// due reports whether a planned time is still to be decided.
func (d *decision) due() bool { return !d.Schedule.NextAt.IsZero() && !d.Schedule.NextAt.After(d.now) }
