package schedule

import (
	"errors"
	"fmt"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// check reads the timing and holds the schedule to what is allowed; its error is a job.Error that
// names every mistake it finds.
func (s *Service) check(sch *job.Schedule) (*timing, error) {
	t, wrong := s.readTiming(sch)
	return t, invalid(append(wrong, s.checkJob(sch, t)...))
}

// Mistakes names what is wrong with when a schedule runs, whatever its job is.
func (s *Service) Mistakes(sch *job.Schedule) []job.FieldError {
	_, wrong := s.readTiming(sch)
	return wrong
}

// readTiming reads when a schedule runs; the timing is nil where it cannot be read.
func (s *Service) readTiming(sch *job.Schedule) (t *timing, wrong []job.FieldError) {
	t, err := readTiming(sch.Timing, sch.CreatedAt)
	var bad *errTime
	if errors.As(err, &bad) {
		wrong = append(wrong, job.FieldError{Pointer: bad.field, Detail: bad.detail})
	} else {
		wrong = append(wrong, s.checkPace(sch, t)...)
	}
	if !sch.EndAt.IsZero() && !sch.EndAt.After(sch.StartAt) {
		wrong = append(wrong, job.FieldError{Pointer: "/end_at", Detail: "must lie after start_at"})
	}
	if sch.MissedWindow < 0 || sch.MissedWindow > job.MaxMissedWindow {
		wrong = append(wrong, job.FieldError{Pointer: "/missed_window", Detail: "must be from 0s to 720h"})
	}
	return t, wrong
}

func invalid(wrong []job.FieldError) error {
	if len(wrong) == 0 {
		return nil
	}
	return &job.Error{Code: job.CodeInvalid, Message: "the schedule has wrong values", Fields: wrong}
}

// checkPace refuses planned times that follow each other too closely, for the deployment or for the
// jitter.
func (s *Service) checkPace(sch *job.Schedule, t *timing) (wrong []job.FieldError) {
	gap := t.shortest(max(s.cfg.MinInterval, sch.Jitter))
	if gap < s.cfg.MinInterval {
		field := "/every"
		if sch.Cron != "" {
			field = "/cron"
		}
		wrong = append(
			wrong,
			job.FieldError{
				Pointer: field,
				Detail:  fmt.Sprintf("names times %v apart: this deployment wants %v or more", gap, s.cfg.MinInterval),
			},
		)
	}
	if sch.Jitter < 0 || sch.Jitter > job.MaxJitter || sch.Jitter > gap {
		wrong = append(
			wrong,
			job.FieldError{
				Pointer: "/jitter",
				Detail:  "must be from 0s to 24h, and no longer than the time between two jobs",
			},
		)
	}
	return wrong
}

// checkJob asks whether the template makes a job that could be run, with the longest texts that the
// placeholders can become.
func (s *Service) checkJob(sch *job.Schedule, t *timing) (wrong []job.FieldError) {
	at := func(pointer, detail string) {
		wrong = append(wrong, job.FieldError{Pointer: "/job" + pointer, Detail: detail})
	}
	if _, taken := sch.Job.Labels[job.ScheduleLabel]; taken {
		at("/labels", "the label "+job.ScheduleLabel+" is Waybill's own")
	}
	if len(sch.Job.Labels) >= job.MaxLabels {
		at("/labels", fmt.Sprintf("may be %d, one less than a job's own: the schedule's name is one", job.MaxLabels-1))
	}
	if t == nil {
		t = &timing{loc: time.UTC}
	}
	sample := renderTemplate(sch, t.loc, sampleTime())
	if len(sample.Payload) > job.MaxPayload {
		at("/payload", fmt.Sprintf("may have %d bytes", job.MaxPayload))
		return wrong
	}
	err := s.deps.Fits(*sample)
	var e *job.Error
	switch {
	case errors.As(err, &e) && len(e.Fields) > 0:
		for _, f := range e.Fields {
			at(f.Pointer, f.Detail)
		}
	case err != nil:
		at("", err.Error())
	}
	return wrong
}
