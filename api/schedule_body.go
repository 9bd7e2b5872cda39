package api

import (
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/schedule"
)

// scheduleBody is a whole schedule as it is answered.
type scheduleBody struct{ *job.Schedule }

func (s scheduleBody) appendJSON(b []byte) []byte {
	b = s.appendFields(append(b, '{'))
	b = s.appendJob(b, true)
	return append(b, '}')
}

// listedSchedule is a schedule in a list: without the payload of its job.
type listedSchedule struct{ *job.Schedule }

func (s listedSchedule) appendJSON(b []byte) []byte {
	b = scheduleBody(s).appendFields(append(b, '{'))
	b = scheduleBody(s).appendJob(b, false)
	return append(b, '}')
}

func (s scheduleBody) appendFields(b []byte) []byte {
	b = appendTextMember(b, "id", s.ID.String())
	b = appendTextMember(b, "owner_id", s.OwnerID.String())
	b = appendTextMember(b, "name", s.Name)
	b = appendTextMember(b, "cron", s.Cron)
	every := ""
	if s.Every > 0 {
		every = duration(s.Every)
	}
	b = appendTextMember(b, "every", every)
	b = appendTextMember(b, "timezone", s.Timezone)
	b = appendTimeMember(b, "start_at", s.StartAt)
	b = appendTimeMember(b, "end_at", s.EndAt)
	b = appendTextMember(b, "jitter", duration(s.Jitter))
	b = appendTextMember(b, "missed", string(s.Missed))
	b = appendTextMember(b, "missed_window", duration(s.MissedWindow))
	b = appendTextMember(b, "overlap", string(s.Overlap))
	b = appendTimeMember(b, "next_at", s.NextAt)
	b = appendTimeMember(b, "buffered_at", s.BufferedAt)
	b = appendTimeMember(b, "paused_at", s.PausedAt)
	b = appendTextMember(b, "paused_by", s.PausedBy)
	b = appendTextMember(b, "pause_reason", s.PauseReason)
	b = appendTimeMember(b, "created_at", s.CreatedAt)
	return appendTimeMember(b, "updated_at", s.UpdatedAt)
}

// appendJob writes the job to submit in the words of POST /v1/jobs.
func (s scheduleBody) appendJob(b []byte, payload bool) []byte {
	j := s.Job
	b = append(appendKey(b, "job"), '{')
	b = appendTextMember(b, "type", j.Type)
	if payload {
		b = appendRaw(appendKey(b, "payload"), j.Payload)
	}
	b = appendTextMember(b, "queue", j.Queue)
	b = appendIntMember(b, "max_retries", j.MaxRetries)
	b = appendTextMember(b, "timeout", duration(j.Timeout))
	b = append(appendKey(b, "backoff"), '{')
	b = appendTextMember(b, "kind", j.Backoff.Kind)
	b = appendTextMember(b, "base", duration(j.Backoff.Base))
	b = appendTextMember(b, "max", duration(j.Backoff.Max))
	b = append(b, '}')
	return append(jobBody{&job.Job{Labels: j.Labels}}.appendLabels(b), '}')
}

// schedulePage is one page of a list.
type schedulePage struct {
	schedules []*job.Schedule
	next      string // empty: the last page
}

func (p schedulePage) appendJSON(b []byte) []byte {
	b = append(b, `{"data":[`...)
	for i, s := range p.schedules {
		if i > 0 {
			b = append(b, ',')
		}
		b = listedSchedule{s}.appendJSON(b)
	}
	b = appendTextMember(append(b, ']'), "next_cursor", p.next)
	return append(b, '}')
}

// tickBody is a row of the tick ledger as it is answered.
type tickBody job.Tick

func (t tickBody) appendJSON(b []byte) []byte {
	b = appendTimeMember(append(b, '{'), "planned_at", t.PlannedAt)
	b = appendTextMember(b, "outcome", string(t.Outcome))
	id := ""
	if !t.JobID.IsZero() {
		id = t.JobID.String()
	}
	b = appendTextMember(b, "job_id", id)
	return append(appendTimeMember(b, "decided_at", t.DecidedAt), '}')
}

// tickPage is one page of a schedule's ticks.
type tickPage struct {
	ticks []job.Tick
	next  string
}

func (p tickPage) appendJSON(b []byte) []byte {
	b = append(b, `{"data":[`...)
	for i, t := range p.ticks {
		if i > 0 {
			b = append(b, ',')
		}
		b = tickBody(t).appendJSON(b)
	}
	b = appendTextMember(append(b, ']'), "next_cursor", p.next)
	return append(b, '}')
}

// previewBody lists times to come, in UTC and as the clocks of the schedule's zone show them.
type previewBody struct {
	Data []previewTime `json:"data"`
}

type previewTime struct {
	PlannedAt time.Time `json:"planned_at"`
	Local     string    `json:"local"`
}

func newPreviewBody(times []time.Time, timezone string) previewBody {
	loc := schedule.Zone(timezone)
	list := previewBody{Data: make([]previewTime, len(times))}
	for i, t := range times {
		list.Data[i] = previewTime{PlannedAt: t.UTC(), Local: t.In(loc).Format(time.RFC3339)}
	}
	return list
}

// backfillBody is what a backfill did, or would do.
type backfillBody struct {
	DryRun  bool       `json:"dry_run"`
	Planned int        `json:"planned"`
	Present int        `json:"present"`
	Jobs    int        `json:"jobs"`
	First   *time.Time `json:"first_planned_at"`
	Last    *time.Time `json:"last_planned_at"`
	Ends    *time.Time `json:"last_run_at"`
}

func newBackfillBody(b *schedule.Backfilled, dry bool) backfillBody {
	body := backfillBody{DryRun: dry, Planned: b.Planned, Present: b.Present, Jobs: b.Made}
	if !b.First.IsZero() {
		body.First, body.Last, body.Ends = &b.First, &b.Last, &b.Ends
	}
	return body
}
