package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/waybill/waybill/internal/job"
)

const (
	outcomeWithin = 30 * time.Second // of the end of the fault, of a job that waited
	runningWithin = 60 * time.Second // of one that ran
	startWithin   = 2 * time.Second  // of its time, where a slot was free
)

// noLoss: every promised job has one of the outcomes that it can have, in time.
func (e *evidence) noLoss() {
	const name = "no loss"
	for _, o := range e.orders {
		if len(o.ids) == 0 {
			continue
		}
		r, ok := e.rows[o.ids[0]]
		if !ok {
			e.broken(name, o.ids[0], "a job (%s) that was answered with 202 is not in the ledger", o.kind)
			continue
		}
		if !r.State.Finished() {
			e.broken(name, r.ID, "a job (%s) is still %s", o.kind, r.State)
			continue
		}
		if !slices.Contains(o.want, r.State) {
			e.broken(name, r.ID, "a job (%s) came to be %s: %s", o.kind, r.State, r.LastError)
		}
		if o.seen != "" && o.seen != r.State {
			e.broken(name, r.ID, "a job was answered as %s and is %s", o.seen, r.State)
		}
		e.inTime(r)
	}
}

func (e *evidence) inTime(r row) {
	steps := e.history[r.ID]
	from, limit := e.w.healed, outcomeWithin
	for _, s := range steps {
		if !s.State.Finished() && s.RunAt.After(from) {
			from = s.RunAt
		}
		if s.At.After(e.w.healed) {
			break
		}
		limit = outcomeWithin
		if s.State == job.Active {
			limit = runningWithin
		}
	}
	limit = max(limit, e.w.f.drain)
	if took := steps[len(steps)-1].At.Sub(from); took > limit {
		e.broken(
			"no loss",
			r.ID,
			"its outcome came %v after it could, %v is promised",
			took.Round(time.Millisecond),
			limit,
		)
	}
}

// noPhantom: every execution has a row, every row was submitted, every key has one job.
func (e *evidence) noPhantom() {
	const name = "no phantom"
	if e.nameless > 0 {
		e.broken(name, "", "%d executions without a job's id", e.nameless)
	}
	for id := range e.seen {
		if _, ok := e.rows[id]; !ok {
			e.broken(name, id, "an execution of a job that is not in the ledger")
		}
	}
	asked := map[string]order{}
	for _, o := range e.orders {
		asked[o.ref] = o
		for _, id := range o.ids {
			if id != o.ids[0] {
				e.broken(name, id, "a key was answered with two jobs, %s and %s", o.ids[0], id)
			}
		}
	}
	byRef := map[string]string{}
	for id, r := range e.rows {
		if _, ok := asked[r.Ref]; !ok {
			e.broken(name, id, "a job that was not submitted: ref %q", r.Ref)
		}
		if other := byRef[r.Ref]; other != "" && !asked[r.Ref].many {
			e.broken(name, id, "one submission made two jobs, %s and %s", other, id)
		}
		byRef[r.Ref] = id
	}
}

// oneOutcome: one accepted transition into an outcome, one settlement of each attempt, none by
// another attempt's handler, and no claim before the attempt before it was given up.
func (e *evidence) oneOutcome() {
	const name = "one outcome"
	again := map[string]bool{} // retried by hand
	for _, o := range e.orders {
		if o.anew && len(o.ids) > 0 {
			again[o.ids[0]] = true
		}
	}
	for id, steps := range e.history {
		outcomes := 0
		for i, s := range steps {
			outcomes += btoi(s.finishes())
			if i == 0 {
				continue
			}
			before := steps[i-1]
			if before.State.Finished() && s.State != before.State &&
				!(again[id] && s.State == job.Pending && s.Delivery > before.Delivery) {
				e.broken(name, id, "it left the outcome %s for %s", before.State, s.State)
			}
			if before.State == job.Active && s.Attempt != before.Attempt {
				e.broken(name, id, "attempt %d was claimed while attempt %d was running", s.Attempt, before.Attempt)
			}
			if s.Settled > before.Settled && s.Settled != before.Attempt {
				e.broken(name, id, "attempt %d was settled when attempt %d was the newest", s.Settled, before.Attempt)
			}
		}
		if (outcomes < 1 || outcomes > 1+btoi(again[id])) && e.rows[id].State.Finished() {
			e.broken(name, id, "%d outcomes", outcomes)
		}
		if r := e.rows[id]; r.Answer != "" && r.Answer != strconv.Itoa(r.Attempt) {
			e.broken(name, id, "the outcome of attempt %d is what attempt %s was answered", r.Attempt, r.Answer)
		}
	}
}

// honestAttempts: attempts rise one by one, no fault of ours uses up a retry, every further
// execution has its reason.
func (e *evidence) honestAttempts() {
	const name = "attempts are honest"
	for id, steps := range e.history {
		for i := 1; i < len(steps); i++ {
			if want := steps[i-1].Attempt + btoi(steps[i].claims()); steps[i].Attempt != want {
				e.broken(name, id, "attempt %d follows %d", steps[i].Attempt, steps[i-1].Attempt)
			}
		}
		if r := e.rows[id]; r.Interruptions > e.w.f.interrupts {
			e.broken(
				name,
				id,
				"interrupted %d times, the fault strikes a job %d times at most",
				r.Interruptions,
				e.w.f.interrupts,
			)
		}
	}
	for _, o := range e.orders {
		if len(o.ids) == 0 || o.failures < 0 {
			continue
		}
		r := e.rows[o.ids[0]]
		if wrong := r.Failures != o.failures && r.State != job.Canceled; wrong || r.Failures > o.failures {
			e.broken(
				name,
				r.ID,
				"%d failures, by its own doing it has %d (%s): %s",
				r.Failures,
				o.failures,
				o.kind,
				r.LastError,
			)
		}
	}
	for id, list := range e.seen {
		e.fewDuplicates(id, list)
	}
}

// fewDuplicates: an attempt is executed once; attempts beyond the first are those that a fault
// interrupted.
func (e *evidence) fewDuplicates(id string, list []execution) {
	r := e.rows[id]
	attempts := map[int]int{}
	for _, x := range list {
		attempts[x.attempt]++
		if attempts[x.attempt] > 1 {
			e.broken("few duplicates", id, "attempt %d was executed %d times", x.attempt, attempts[x.attempt])
		}
		if x.attempt < 1 || x.attempt > r.Attempt {
			e.broken("attempts are honest", id, "attempt %d was executed, %d are recorded", x.attempt, r.Attempt)
		}
	}
	if most := 1 + r.Interruptions + r.Failures; len(list) > most {
		e.broken(
			"few duplicates",
			id,
			"executed %d times with %d interruptions and %d failures",
			len(list),
			r.Interruptions,
			r.Failures,
		)
	}
}

// legalStates: every change is in the one table of state changes.
func (e *evidence) legalStates() {
	const name = "legal states only"
	for id, steps := range e.history {
		for i, s := range steps {
			switch {
			case i == 0 && (s.Before != nil ||
				!slices.Contains([]job.State{job.Pending, job.Scheduled, job.Held}, s.State)):
				e.broken(name, id, "it began as %s", s.State)
			case i > 0 && (s.Before == nil || *s.Before != steps[i-1].State):
				e.broken(name, id, "the history has a gap before %s", s)
			case i > 0 && *s.Before != s.State && !s.Before.CanBecome(s.State):
				e.broken(name, id, "from %s to %s", *s.Before, s.State)
			}
		}
	}
}

// onTime: nothing starts before its time; what came to be due while all was well starts within two
// seconds.
func (e *evidence) onTime() {
	const name = "on time"
	probes := map[string]bool{}
	for _, o := range e.orders {
		if o.probe && len(o.ids) > 0 {
			probes[o.ids[0]] = true
		}
	}
	for id, steps := range e.history {
		for i, s := range steps {
			if i == 0 || !s.claims() {
				continue
			}
			due := steps[i-1].RunAt
			if at := steps[i-1].At; at.After(due) {
				due = at
			}
			// A pending job may run whatever a clock shows that has stepped back since.
			if early := steps[i-1].RunAt.Sub(s.At); early > 0 && steps[i-1].State != job.Pending {
				e.broken(name, id, "attempt %d was claimed %v before its time", s.Attempt, early)
			}
			well := probes[id] || due.Before(e.w.struck.Add(-startWithin))
			if late := s.At.Sub(due); well && late > startWithin {
				e.broken(name, id, "attempt %d was claimed %v after it could", s.Attempt, late.Round(time.Millisecond))
			}
		}
		for _, x := range e.seen[id] {
			// The receiver goes by the machine's clock.
			if early := steps[0].RunAt.Sub(x.start); early > 0 && !e.w.f.clocks {
				e.broken(name, id, "attempt %d began %v before the job's time", x.attempt, early)
			}
		}
	}
}

// cancelHolds: once a cancel was answered for a job that did not run, none of its attempts starts.
func (e *evidence) cancelHolds() {
	for _, o := range e.orders {
		if o.canceledAt.IsZero() {
			continue
		}
		id := o.ids[0]
		for _, s := range e.history[id] {
			if s.claims() && s.At.After(o.canceledAt) && !e.w.f.clocks {
				e.broken("cancel holds", id, "claimed after its cancel was answered")
			}
		}
		for _, x := range e.seen[id] {
			if x.start.After(o.canceledAt) {
				e.broken("cancel holds", id, "executed after its cancel was answered")
			}
		}
	}
}
