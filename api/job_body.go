package api

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// jobBody is a whole job as it is answered.
type jobBody struct{ *job.Job }

func (j jobBody) appendJSON(b []byte) []byte {
	b = append(b, '{')
	b = j.appendFields(b)
	b = appendRaw(appendKey(b, "payload"), j.Payload)
	b = appendRaw(appendKey(b, "result"), j.Result)
	b = j.appendErrors(b)
	return append(b, '}')
}

// listedJob is a job in a list: without its payload, its result and its errors.
type listedJob struct{ *job.Job }

func (j listedJob) appendJSON(b []byte) []byte {
	return append(jobBody(j).appendFields(append(b, '{')), '}')
}

func (j jobBody) appendFields(b []byte) []byte {
	b = appendIDMember(b, "id", j.ID)
	b = appendIDMember(b, "owner_id", j.OwnerID)
	b = appendTextMember(b, "type", j.Type)
	b = appendTextMember(b, "queue", j.Queue)
	b = appendTextMember(b, "state", string(j.State))
	b = j.appendPolicy(b)
	b = j.appendLabels(b)
	b = appendIntMember(b, "attempt", j.Attempt)
	b = appendIntMember(b, "failures", j.Failures)
	b = appendIntMember(b, "interruptions", j.Interruptions)
	b = j.appendProgress(b)
	b = appendTextMember(b, "worker", j.Worker)
	b = appendTimeMember(b, "created_at", j.CreatedAt)
	b = appendTimeMember(b, "started_at", j.StartedAt)
	b = appendTimeMember(b, "finished_at", j.FinishedAt)
	return appendTimeMember(b, "cancel_requested_at", j.CancelRequestedAt)
}

func (j jobBody) appendPolicy(b []byte) []byte {
	b = appendTimeMember(b, "run_at", j.RunAt)
	var next time.Time
	if slices.Contains(job.WaitingStates, j.State) {
		next = j.RunAt
	}
	b = appendTimeMember(b, "next_run_at", next)
	b = appendIntMember(b, "max_retries", j.MaxRetries)
	b = appendDurationMember(b, "timeout", j.Timeout)
	b = appendTimeMember(b, "deadline", j.Deadline)
	b = append(appendKey(b, "backoff"), '{')
	b = appendTextMember(b, "kind", j.Backoff.Kind)
	b = appendDurationMember(b, "base", j.Backoff.Base)
	b = appendDurationMember(b, "max", j.Backoff.Max)
	return append(b, '}')
}

// appendLabels writes the labels by key, so that the same job is the same text.
func (j jobBody) appendLabels(b []byte) []byte {
	b = append(appendKey(b, "labels"), '{')
	if len(j.Labels) == 0 {
		return append(b, '}')
	}
	for _, k := range slices.Sorted(maps.Keys(j.Labels)) {
		b = appendString(appendKey(b, k), j.Labels[k])
	}
	return append(b, '}')
}

// appendProgress writes how far the job is, to two places. A completed one is all done, whatever it
// last said of itself.
func (j jobBody) appendProgress(b []byte) []byte {
	b = appendKey(b, "progress")
	p := j.Progress
	switch {
	case j.State == job.Completed:
		p = &job.Progress{Percent: 100}
	case p == nil:
		return append(b, "null"...)
	}
	b = append(b, `{"percent":`...)
	b = strconv.AppendFloat(b, math.Round(p.Percent*100)/100, 'f', -1, 64)
	b = appendTextMember(b, "message", p.Message)
	return append(b, '}')
}

// appendErrors writes the errors without the stacks of panics: those are for the log.
func (j jobBody) appendErrors(b []byte) []byte {
	b = append(appendKey(b, "errors"), '[')
	for i, e := range j.Errors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendIntMember(b, "attempt", e.Attempt)
		b = appendTimeMember(b, "at", e.At)
		b = appendString(appendKey(b, "message"), e.Message)
		b = strconv.AppendBool(appendKey(b, "retryable"), e.Retryable)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendRaw appends v as it stands; it was checked when it came in.
func appendRaw(b []byte, v json.RawMessage) []byte {
	if len(v) == 0 {
		return append(b, "null"...)
	}
	return append(b, v...)
}

// jobPage is one page of a list.
type jobPage struct {
	jobs []*job.Job
	next string // empty: the last page
}

func (p jobPage) appendJSON(b []byte) []byte {
	b = append(b, `{"data":[`...)
	for i, j := range p.jobs {
		if i > 0 {
			b = append(b, ',')
		}
		b = listedJob{j}.appendJSON(b)
	}
	b = appendTextMember(append(b, ']'), "next_cursor", p.next)
	return append(b, '}')
}

// batchBody says what became of each job of a batch, in order.
type batchBody []job.Created

func (l batchBody) appendJSON(b []byte) []byte {
	b = slices.Grow(b, len(l)*80)
	b = append(b, `{"data":[`...)
	for i, c := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = c.Job.ID.AppendText(append(b, `{"id":"`...)) // never fails
		b = append(b, `","state":"`...)
		b = append(b, c.Job.State...)
		b = append(b, `"}`...)
	}
	return append(b, "]}"...)
}
