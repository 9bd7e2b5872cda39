package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// ledger is where schedules and their ticks are written down. Each judge is called within a
// transaction that holds the schedule's lock.
type ledger interface {
	Now(ctx context.Context) (time.Time, error)
	CreateSchedule(ctx context.Context, s *job.Schedule) error
	ChangeSchedule(
		ctx context.Context,
		id job.ID,
		judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error),
	) (*job.Decided, error)
	DecideSchedules(
		ctx context.Context,
		limit int,
		judge func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, bool),
	) (*job.Decided, error)
	ScheduleAgenda(ctx context.Context) (next time.Time, buffered bool, now time.Time, err error)
	Ticks(ctx context.Context, f job.TickFilter) ([]job.Tick, error)
	// OpenJobs counts an owner's jobs that are not finished, but not beyond limit.
	OpenJobs(ctx context.Context, owner job.ID, limit int) (int, error)
}

// dispatcher takes recorded jobs to the workers, and canceled ones back. None of its methods blocks
// or fails.
type dispatcher interface {
	Send(p ...job.Message)
	Withdraw(p job.Message)
	SignalCancel(id job.ID)
}

// Observer is told what each commit has written, for the metrics.
type Observer interface {
	Decided(d *job.Decided)
}

// Config of a Service.
type Config struct {
	MinInterval time.Duration // the shortest time between two planned times of a schedule; 0: 1 s, the least there is
	MaxOpen     int           // the jobs that one owner may have open for planned times to make more; 0: no limit
}

// Deps are what a Service works with; all are needed but Observer.
type Deps struct {
	Ledger     ledger
	Dispatcher dispatcher
	// Fits says whether a job made from a template could be run: nil, or what is wrong with it.
	Fits     func(s job.Submission) error
	Log      *slog.Logger
	Observer Observer
}

// Service changes schedules, and runs them where Run is called. It is safe for concurrent use.
type Service struct {
	cfg   Config
	deps  Deps
	plan  *planner
	quota *quota
}

// New makes a Service.
func New(cfg Config, deps Deps) (*Service, error) {
	if deps.Ledger == nil || deps.Dispatcher == nil || deps.Fits == nil || deps.Log == nil {
		return nil, errors.New("schedule: a dependency is missing")
	}
	if deps.Observer == nil {
		deps.Observer = noObserver{}
	}
	cfg.MinInterval = max(cfg.MinInterval, time.Second)
	return &Service{
		cfg:   cfg,
		deps:  deps,
		plan:  newPlanner(deps.Fits),
		quota: newQuota(cfg.MaxOpen, deps.Ledger, deps.Log),
	}, nil
}

type noObserver struct{}

func (noObserver) Decided(*job.Decided) {}

// Create checks a schedule and writes it down; what the ledger decides (id, times, revision) is
// filled in. Its first planned time lies after now. Errors: job.CodeInvalid with the pointers,
// job.CodeConflict where its owner has one of that name.
func (s *Service) Create(ctx context.Context, sch job.Schedule) (*job.Schedule, error) {
	now, err := s.deps.Ledger.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	sch.ID, sch.Revision, sch.CreatedAt, sch.UpdatedAt = job.NewID(), 1, now, now
	t, err := s.check(&sch)
	if err != nil {
		return nil, err
	}
	if sch.NextAt = t.next(now); sch.NextAt.IsZero() {
		return nil, job.Invalid("/end_at", "leaves no planned time that lies ahead")
	}
	if err := s.deps.Ledger.CreateSchedule(ctx, &sch); err != nil {
		return nil, err
	}
	return &sch, nil
}

// Change lets alter change what people may set, under the schedule's lock, and plans again from now
// on. What was due before is decided by the old rules.
func (s *Service) Change(ctx context.Context, id job.ID, alter func(*job.Schedule) error) (*job.Schedule, error) {
	return s.change(ctx, id, func(d *decision) error {
		sch, before := &d.Schedule, d.Schedule.Overlap
		if err := alter(sch); err != nil {
			return err
		}
		t, err := s.check(sch)
		if err != nil {
			return err
		}
		if sch.PausedAt.IsZero() {
			sch.NextAt = t.next(d.now)
		}
		if before == job.OverlapAllow && sch.Overlap != before { // it was not counted until now
			sch.OpenFrom = job.FirstIDAt(sch.CreatedAt.Add(-idLead))
		}
		return nil
	})
}

// idLead is how much older than its schedule a job's id may seem: it comes from another process,
// and the ledger's clock may have stepped.
const idLead = time.Hour

// Pause stops planning from now on. A planned time that waits for earlier jobs is passed over.
// Pausing again changes the reason.
func (s *Service) Pause(ctx context.Context, id job.ID, by, reason string) (*job.Schedule, error) {
	return s.change(ctx, id, func(d *decision) error {
		d.pause(by, reason)
		return nil
	})
}

// Resume plans from now on; what lay in the pause was never planned. It answers job.CodeInvalid
// where the schedule's job could not be run, job.CodeConflict where its owner is disabled, and
// changes nothing about a schedule that is not paused.
func (s *Service) Resume(ctx context.Context, id job.ID) (*job.Schedule, error) {
	return s.change(ctx, id, func(d *decision) error {
		sch := &d.Schedule
		if sch.PausedAt.IsZero() {
			return nil
		}
		if d.ownerDisabled {
			return errOwnerDisabled()
		}
		t, err := s.check(sch)
		if err != nil {
			return err
		}
		sch.PausedAt, sch.PausedBy, sch.PauseReason, sch.NextAt = time.Time{}, "", "", t.next(d.now)
		return nil
	})
}

// Delete ends a schedule. Its jobs go on, and its ticks stay until their retention ends.
func (s *Service) Delete(ctx context.Context, id job.ID) (*job.Schedule, error) {
	return s.change(ctx, id, func(d *decision) error {
		d.unbuffer()
		d.Schedule.NextAt, d.Schedule.DeletedAt = time.Time{}, d.now
		return nil
	})
}

// Trigger makes a job now, whatever the overlap policy says, paused or not. A key names the request
// (empty: none): where the schedule was triggered with it before, that tick is answered again,
// replayed, and nothing is made.
func (s *Service) Trigger(ctx context.Context, id job.ID, key string) (tick *job.Tick, replayed bool, err error) {
	if tick, err = s.triggered(ctx, id, key); tick != nil || err != nil {
		return tick, true, err
	}
	out, err := s.commit(
		s.deps.Ledger.ChangeSchedule(ctx, id, func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
			d, err := s.byHand(now, due)
			if err != nil {
				return job.ScheduleDecision{}, err
			}
			d.run(betweenSeconds(now), job.Triggered)
			d.Ticks[0].Key = key
			d.keepOpen()
			return d.ScheduleDecision, nil
		}),
	)
	if err != nil {
		return nil, false, err
	}
	if len(out.Ticks) == 1 {
		return &out.Ticks[0], false, nil
	}
	if tick, err = s.triggered(ctx, id, key); tick != nil || err != nil { // the same request came twice at once
		return tick, true, err
	}
	return nil, false, job.Unavailable("the schedule was triggered by another request at this very moment", nil)
}

// triggered finds the tick that a request made before; nil: there is none.
func (s *Service) triggered(ctx context.Context, id job.ID, key string) (*job.Tick, error) {
	if key == "" {
		return nil, nil
	}
	ticks, err := s.deps.Ledger.Ticks(ctx, job.TickFilter{ScheduleID: id, Key: key, Limit: 1})
	if err != nil || len(ticks) == 0 {
		return nil, err
	}
	return &ticks[0], nil
}

// betweenSeconds is now, or right after it: planned times are whole seconds, and this is none of
// them.
func betweenSeconds(now time.Time) time.Time {
	now = now.Truncate(time.Microsecond)
	if now.Equal(now.Truncate(time.Second)) {
		now = now.Add(time.Microsecond)
	}
	return now
}

// byHand begins a decision that a request asked for: one that cannot be carried out is an error,
// not a pause.
func (s *Service) byHand(now time.Time, due *job.DueSchedule) (*decision, error) {
	if due.OwnerDisabled {
		return nil, errOwnerDisabled()
	}
	known := s.plan.plan(&due.Schedule)
	if known.timing == nil {
		return nil, &job.Error{
			Code:    job.CodeConflict,
			Message: "this process cannot read the schedule",
			Err:     known.misfit,
		}
	}
	if wrong := s.checkJob(&due.Schedule, known.timing); len(wrong) > 0 {
		return nil, &job.Error{Code: job.CodeInvalid, Message: "the schedule's job could not be run", Fields: wrong}
	}
	return newDecision(due, known.timing, now, fullBudget()), nil
}

var errUncounted = errors.New("the owner's open jobs must be counted first")

// change decides what is due, as far as one transaction goes, and again until nothing is; then it
// lets apply change the rest.
func (s *Service) change(ctx context.Context, id job.ID, apply func(*decision) error) (*job.Schedule, error) {
	for {
		if err := s.quota.count(ctx); err != nil {
			return nil, err
		}
		done := false
		out, err := s.commit(
			s.deps.Ledger.ChangeSchedule(
				ctx,
				id,
				func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
					left := fullBudget()
					if !s.quota.admit(due.OwnerID, left) {
						return job.ScheduleDecision{}, errUncounted
					}
					decided := s.plan.decide(due, now, left)
					d := &decision{
						ScheduleDecision: decided,
						now:              now,
						left:             fullBudget(),
						ownerDisabled:    due.OwnerDisabled,
					}
					if done = !d.due(); !done {
						return decided, nil
					}
					d.Settings = true
					if err := apply(d); err != nil {
						return job.ScheduleDecision{}, err
					}
					d.Schedule.Revision++
					d.Schedule.UpdatedAt = now
					return d.ScheduleDecision, nil
				},
			),
		)
		switch {
		case errors.Is(err, errUncounted): // again
		case err != nil:
			return nil, err
		case done:
			return &out.Schedules[0], nil
		}
	}
}

// commit does after a commit what needs no transaction: jobs are sent, canceled ones taken back,
// ticks counted.
func (s *Service) commit(out *job.Decided, err error) (*job.Decided, error) {
	if err != nil {
		return nil, err
	}
	canceled := map[job.ID]bool{}
	for _, j := range out.Canceled {
		canceled[j.ID] = true
		if j.State.Finished() {
			s.deps.Dispatcher.Withdraw(j.Message())
		} else {
			s.deps.Dispatcher.SignalCancel(j.ID)
		}
	}
	for _, j := range out.Created {
		if !canceled[j.ID] {
			s.deps.Dispatcher.Send(j.Message())
		}
	}
	s.quota.created(out.Created)
	s.deps.Observer.Decided(out)
	return out, nil
}
