package api

import (
	"regexp"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/schedule"
)

const (
	defaultMissedWindow = 24 * time.Hour
	maxPreview          = 100
	defaultPreview      = 10
	maxBoundYears       = 100 // how far ahead start_at and end_at may lie
)

var scheduleName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9 ._/-]*[A-Za-z0-9._/-])?$`)

// newSchedule is what holds where the body says nothing.
func newSchedule(owner job.ID) *job.Schedule {
	return &job.Schedule{
		OwnerID:      owner,
		Timing:       job.Timing{Timezone: "UTC"},
		Missed:       job.MissedLatest,
		MissedWindow: defaultMissedWindow,
		Overlap:      job.OverlapAllow,
	}
}

// scheduleInput reads the fields that are given into a schedule.
type scheduleInput struct {
	to     *job.Schedule
	now    time.Time
	change bool // of one that exists: null takes start_at and end_at away

	cron  string
	every time.Duration
	job   *createJob // nil: not given
}

func newScheduleInput(to *job.Schedule, now time.Time) *scheduleInput {
	return &scheduleInput{to: to, now: now}
}

func (in *scheduleInput) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "name":
		in.readName(s)
	case "cron":
		s.str(&in.cron, 1, job.MaxCron)
	case "every":
		s.duration(&in.every, time.Second, job.MaxEvery)
	case "timezone":
		s.str(&in.to.Timezone, 1, 64)
	case "start_at":
		in.readBound(s, &in.to.StartAt)
	case "end_at":
		in.readBound(s, &in.to.EndAt)
	case "jitter":
		readWhole(s, &in.to.Jitter, job.MaxJitter)
	case "missed":
		readChoice(s, &in.to.Missed, job.MissedPolicies)
	case "missed_window":
		readWhole(s, &in.to.MissedWindow, job.MaxMissedWindow)
	case "overlap":
		readChoice(s, &in.to.Overlap, job.OverlapPolicies)
	case "job":
		if s.kind('{', "must be an object") {
			in.job = newCreateJob(in.now)
			s.members(in.job)
		}
	default:
		return false
	}
	return true
}

func (in *scheduleInput) readName(s *scanner) {
	var name string
	if s.str(&name, 1, job.MaxScheduleName); name == "" {
		return
	}
	if !scheduleName.MatchString(name) {
		s.refuse("must be of A-Z a-z 0-9 . _ / - and spaces, begin with a letter or a digit, and not end with a space")
	}
	in.to.Name = name
}

// readBound reads a time to the second: planned times are whole seconds.
func (in *scheduleInput) readBound(s *scanner, to *time.Time) {
	if in.change && s.peek() == 'n' {
		*to = time.Time{}
	}
	var t time.Time
	if s.instant(&t, earliest, in.now.AddDate(maxBoundYears, 0, 0)); !t.IsZero() {
		*to = t.Truncate(time.Second)
	}
}

// readWhole reads a time to the millisecond, as it is kept.
func readWhole(s *scanner, to *time.Duration, longest time.Duration) {
	s.duration(to, 0, longest)
	*to = to.Truncate(time.Millisecond)
}

// readChoice reads one of a list of names.
func readChoice[T ~string](s *scanner, to *T, of []T) {
	names := make([]string, len(of))
	for i := range of {
		names[i] = string(of[i])
	}
	v := string(*to)
	s.choice(&v, names...)
	*to = T(v)
}

// apply puts together what the fields say only together: cron takes the place of every, and the
// other way round.
func (in *scheduleInput) apply() {
	if in.cron != "" || in.every != 0 {
		in.to.Cron, in.to.Every = in.cron, in.every
	}
}

// read reads a body into sch and names every mistake in it.
func (h *scheduleHandler) read(body []byte, in *scheduleInput, sch *job.Schedule) error {
	s := &scanner{data: body}
	s.document(func() { s.expectKind('{', func() { s.members(in) }) })
	if s.stop != nil {
		return s.stop
	}
	in.apply()
	if sch.Name == "" {
		s.add("", []job.FieldError{{Pointer: "/name", Detail: "is required"}})
	}
	s.add("", h.readJob(in, sch))
	s.add("", h.readTiming(s, sch))
	return s.err()
}

// readTiming leaves the timing alone where it could not be read: what is missing then was refused.
func (h *scheduleHandler) readTiming(s *scanner, sch *job.Schedule) []job.FieldError {
	timing := func(m job.FieldError) bool { return m.Pointer == "/cron" || m.Pointer == "/every" }
	found := h.schedules.Mistakes(sch)
	if slices.ContainsFunc(s.mistakes, timing) {
		found = slices.DeleteFunc(found, timing)
	}
	if sch.Cron == "" && sch.Every == 0 {
		for i := range found {
			if timing(found[i]) {
				found[i] = job.FieldError{Pointer: "/cron", Detail: "is required, or every"}
			}
		}
	}
	return found
}

// readJob checks the job to submit as it will be with its placeholders filled.
func (h *scheduleHandler) readJob(in *scheduleInput, sch *job.Schedule) []job.FieldError {
	if in.job == nil {
		if in.change {
			return nil
		}
		return []job.FieldError{{Pointer: "/job", Detail: "is required"}}
	}
	mistakes := in.job.untimed()
	payload := in.job.payload
	if payload != nil {
		in.job.payload = schedule.Sample(payload, sch.Timezone)
	}
	sub, more := h.check.check(in.job, sch.OwnerID)
	sub.ID, sub.OwnerID, sub.Payload = job.ID{}, job.ID{}, payload
	sch.Job = sub
	for _, m := range more {
		m.Pointer = "/job" + m.Pointer
		mistakes = append(mistakes, m)
	}
	return mistakes
}

// untimed takes away what a schedule's job cannot have, and refuses it.
func (in *createJob) untimed() (mistakes []job.FieldError) {
	refuse := func(given bool, field string) {
		if given {
			mistakes = append(
				mistakes,
				job.FieldError{
					Pointer: "/job/" + field,
					Detail:  "cannot be given: the schedule says when its jobs run",
				},
			)
		}
	}
	refuse(!in.runAt.IsZero(), "run_at")
	refuse(in.delay != 0, "delay")
	refuse(!in.deadline.IsZero(), "deadline")
	in.runAt, in.delay, in.deadline = time.Time{}, 0, time.Time{}
	return mistakes
}

// pauseSchedule is why.
type pauseSchedule struct{ reason string }

func (in *pauseSchedule) member(s *scanner, name []byte) bool {
	if string(name) != "reason" {
		return false
	}
	s.str(&in.reason, 0, job.MaxScheduleReason)
	return true
}

// emptyBody is a body without fields.
type emptyBody struct{}

func (emptyBody) member(*scanner, []byte) bool { return false }

// previewSchedule is a schedule's timing; its other fields may come along.
type previewSchedule struct {
	*scheduleInput
	after time.Time
	count int
}

func (in *previewSchedule) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "count":
		s.integer(&in.count, 1, maxPreview)
	case "after":
		s.instant(&in.after, earliest, in.now.AddDate(maxBoundYears, 0, 0))
	case "job": // it has no part in when it runs
		s.skip()
	default:
		return in.scheduleInput.member(s, name)
	}
	return true
}

// backfillSchedule asks for a backfill; dry unless it says otherwise.
type backfillSchedule struct {
	schedule.Backfill
	now time.Time
}

func (in *backfillSchedule) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "from":
		s.instant(&in.From, earliest, in.now.Add(job.MaxDelay))
	case "to":
		s.instant(&in.To, earliest, in.now.Add(job.MaxDelay))
	case "spacing":
		s.duration(&in.Spacing, 0, job.MaxBackfillSpacing)
	case "dry_run":
		s.boolean(&in.DryRun)
	default:
		return false
	}
	return true
}

func (in *backfillSchedule) check() error {
	var mistakes []job.FieldError
	if in.From.IsZero() {
		mistakes = append(mistakes, job.FieldError{Pointer: "/from", Detail: "is required"})
	}
	if in.To.IsZero() {
		mistakes = append(mistakes, job.FieldError{Pointer: "/to", Detail: "is required"})
	} else if !in.To.After(in.From) {
		mistakes = append(mistakes, job.FieldError{Pointer: "/to", Detail: "must lie after from"})
	}
	return invalid(mistakes)
}
