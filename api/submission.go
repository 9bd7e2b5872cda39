package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
)

const (
	maxTypeName = 100
	maxAhead    = 2 * job.MaxDelay // how far ahead a deadline may lie: a job as late as can be, and time to run
	maxBackoff  = 30 * 24 * time.Hour
	minBackoff  = 100 * time.Millisecond
)

var (
	labelKey = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]*$`)
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // an older time is a mistake of the client
)

// createJob is a job as it is asked for. Fields that are not given keep what newCreateJob set.
type createJob struct {
	now time.Time // the ledger's

	typ        string
	payload    json.RawMessage
	queue      string
	runAt      time.Time
	delay      time.Duration
	maxRetries int // -1: not given
	timeout    time.Duration
	deadline   time.Time
	backoff    backoffBody
	labels     labelsBody
}

func newCreateJob(now time.Time) *createJob {
	in := new(createJob)
	in.clear(now)
	return in
}

func (in *createJob) clear(now time.Time) {
	*in = createJob{now: now.Round(0), maxRetries: -1} // without the monotonic clock, which means nothing elsewhere
}

func (in *createJob) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "type":
		s.str(&in.typ, 1, maxTypeName)
	case "payload":
		in.readPayload(s)
	case "queue":
		s.str(&in.queue, 1, job.MaxQueueName)
	case "run_at":
		s.instant(&in.runAt, earliest, in.now.Add(job.MaxDelay))
	case "delay":
		s.duration(&in.delay, 1, job.MaxDelay)
	case "max_retries":
		s.integer(&in.maxRetries, 0, job.MaxRetries)
	case "timeout":
		s.duration(&in.timeout, job.MinTimeout, job.MaxTimeout)
	case "deadline":
		s.instant(&in.deadline, in.now, in.now.Add(maxAhead))
	case "backoff":
		s.nested(&in.backoff)
	case "labels":
		s.nested(&in.labels)
	default:
		return false
	}
	return true
}

func (in *createJob) readPayload(s *scanner) {
	s.within(job.MaxPayload, payloadTooLong, func() { s.raw(&in.payload) })
}

var payloadTooLong = fmt.Sprintf("may have %d bytes", job.MaxPayload)

// backoffBody is how long to wait between attempts; what is not given comes from the task type.
type backoffBody job.Backoff

func (in *backoffBody) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "kind":
		s.choice(&in.Kind, job.Exponential, job.Fixed)
	case "base":
		s.duration(&in.Base, minBackoff, maxBackoff)
	case "max":
		s.duration(&in.Max, minBackoff, maxBackoff)
	default:
		return false
	}
	return true
}

// labelsBody is any number of keys with a string each, up to the limits.
type labelsBody map[string]string

func (in *labelsBody) member(s *scanner, name []byte) bool {
	if *in == nil {
		*in = labelsBody{}
	}
	if len(name) > job.MaxLabelKey || !labelKey.Match(name) {
		s.refuse("a label's key has 1 to %d of a-z 0-9 . _ / -, and begins with a letter or a digit", job.MaxLabelKey)
	}
	if string(name) == job.HopsLabel {
		s.refuse("is Waybill's own")
	}
	if len(*in) == job.MaxLabels {
		s.refuse("a job may have %d labels", job.MaxLabels)
		s.skip()
		return true
	}
	var value string
	if s.peek() == 'n' {
		s.refuse("must be a string")
	}
	s.str(&value, 0, job.MaxLabelValue)
	(*in)[string(name)] = value
	return true
}

// checker knows what may be submitted.
type checker struct {
	tasks  *catalogue.Catalogue
	queues []string
}

// fieldErrors are what is wrong with a job, seen from the job itself.
type fieldErrors []job.FieldError

func (m *fieldErrors) refuse(field, format string, args ...any) {
	*m = append(*m, job.FieldError{Pointer: field, Detail: fmt.Sprintf(format, args...)})
}

// check completes what the scanner could not see at one place: what is missing, what does not go
// together, what the task type says. The Submission is whole where there are no mistakes.
func (k checker) check(in *createJob, owner job.ID) (job.Submission, fieldErrors) {
	var wrong fieldErrors
	t := k.checkType(in, &wrong)
	if t == nil {
		return job.Submission{}, wrong
	}
	sub := in.withDefaults(t)
	sub.OwnerID = owner
	if !slices.Contains(k.queues, sub.Queue) {
		wrong.refuse("/queue", "%q is not a queue of this deployment: there are %q", sub.Queue, k.queues)
	}
	in.checkTimes(&sub, &wrong)
	if sub.Backoff.Max < sub.Backoff.Base {
		wrong.refuse("/backoff/max", "is shorter than the base, %s", duration(sub.Backoff.Base))
	}
	if in.payload != nil {
		if err := t.CheckValid(in.payload); err != nil { // the scanner takes nothing else
			wrong = append(wrong, payloadErrors(err)...)
		}
	}
	return sub, wrong
}

func (k checker) checkType(in *createJob, wrong *fieldErrors) *catalogue.Type {
	if in.payload == nil {
		wrong.refuse("/payload", "is required")
	}
	if in.typ == "" {
		wrong.refuse("/type", "is required")
		return nil
	}
	t, ok := k.tasks.Lookup(in.typ)
	if !ok {
		wrong.refuse("/type", "is no task type of this deployment: see /v1/task-types")
		return nil
	}
	return t
}

func (in *createJob) checkTimes(sub *job.Submission, wrong *fieldErrors) {
	if in.delay != 0 && !in.runAt.IsZero() {
		wrong.refuse("/delay", "cannot be given together with run_at")
	}
	switch {
	case in.delay != 0:
		sub.Delay = in.delay
	case in.runAt.After(in.now):
		sub.RunAt = in.runAt
	}
	if !sub.Deadline.IsZero() && (sub.RunAt.After(sub.Deadline) || in.now.Add(sub.Delay).After(sub.Deadline)) {
		wrong.refuse("/deadline", "lies before the job may run")
	}
}

func (in *createJob) withDefaults(t *catalogue.Type) job.Submission {
	d := t.Defaults
	if in.backoff.Max == 0 && in.backoff.Base > d.Backoff.Max {
		in.backoff.Max = in.backoff.Base
	}
	if in.maxRetries < 0 {
		in.maxRetries = d.MaxRetries
	}
	return job.Submission{
		ID: job.NewID(), Type: t.Name, Queue: orElse(in.queue, d.Queue), Payload: in.payload, Labels: in.labels,
		Policy: job.Policy{
			MaxRetries: in.maxRetries,
			Timeout:    orElse(in.timeout, d.Timeout),
			Deadline:   in.deadline,
			Backoff: job.Backoff{
				Kind: orElse(in.backoff.Kind, d.Backoff.Kind),
				Base: orElse(in.backoff.Base, d.Backoff.Base),
				Max:  orElse(in.backoff.Max, d.Backoff.Max),
			},
		},
	}
}

// payloadErrors is what err, of a payload, says of single fields of the job.
func payloadErrors(err error) fieldErrors {
	e := known(err)
	if len(e.Fields) == 0 { // an error without a place is one of the whole payload
		return fieldErrors{{Pointer: "/payload", Detail: e.Message}}
	}
	return e.Fields
}
