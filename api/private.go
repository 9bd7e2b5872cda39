package api

import (
	"slices"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
)

// hiddenText stands where a text of a private type is not shown.
const hiddenText = "hidden: jobs of this type may hold secrets, which only their owner and operators see"

// viewing decides who sees what jobs hold. Payloads, results and errors of private types (those
// that may hold secrets, and those that this process does not know) are for the owner and for
// operators.
type viewing struct{ tasks *catalogue.Catalogue }

func (v viewing) private(taskType string) bool {
	t, ok := v.tasks.Lookup(taskType)
	return !ok || t.Private
}

func (v viewing) hides(p *account.Principal, owner job.ID, taskType string) bool {
	return p.UserID != owner && !p.Role.Includes(account.RoleOperator) && v.private(taskType)
}

// job is the body of a whole job as p may see it. The job itself is shared with other requests and
// stays as it is.
func (v viewing) job(p *account.Principal, j *job.Job) appender {
	if !v.hides(p, j.OwnerID, j.Type) {
		return jobBody{j}
	}
	shown := *j
	shown.Payload, shown.Result, shown.Progress = nil, nil, hideProgress(j.Progress)
	shown.Errors = slices.Clone(j.Errors)
	for i := range shown.Errors {
		shown.Errors[i].Message = hiddenText
	}
	return hiddenBody{jobBody{&shown}}
}

// jobs are the jobs of a list, which have no payloads, results and errors, as p may see them.
func (v viewing) jobs(p *account.Principal, list []*job.Job) []*job.Job {
	out := slices.Clone(list)
	for i, j := range out {
		if j.Progress != nil && v.hides(p, j.OwnerID, j.Type) {
			shown := *j
			shown.Progress = hideProgress(j.Progress)
			out[i] = &shown
		}
	}
	return out
}

// schedule is the body of a whole schedule as p may see it.
func (v viewing) schedule(p *account.Principal, s *job.Schedule) appender {
	if !v.hides(p, s.OwnerID, s.Job.Type) {
		return scheduleBody{s}
	}
	shown := *s
	shown.Job.Payload = nil
	return hiddenBody{scheduleBody{&shown}}
}

func hideProgress(p *job.Progress) *job.Progress {
	if p == nil {
		return nil
	}
	shown := *p
	if shown.Message != "" {
		shown.Message = hiddenText
	}
	return &shown
}

// hiddenBody says of an object that parts of it are not shown.
type hiddenBody struct{ appender }

func (h hiddenBody) appendJSON(b []byte) []byte {
	b = h.appender.appendJSON(b)
	return append(b[:len(b)-1], `,"hidden":true}`...)
}
