package main

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func from(s job.State) *job.State { return &s }

// flawless is the evidence of one http.request that was promised, run once and completed while all
// was well.
func flawless() *evidence {
	none := ""
	return &evidence{
		w:         &cluster{f: fault{}, struck: at(60_000), healed: at(70_000)},
		conserved: &none,
		orders:    []order{{ref: "1", kind: "call", want: completed(), ids: []string{"a"}, answeredAt: at(1)}},
		rows:      map[string]row{"a": {ID: "a", Ref: "1", State: job.Completed, Attempt: 1, Answer: "1"}},
		history: map[string][]step{"a": {
			{At: at(0), State: job.Pending, RunAt: at(0), Delivery: 1},
			{At: at(10), Before: from(job.Pending), State: job.Active, Attempt: 1, RunAt: at(0), Delivery: 1},
			{
				At:       at(30),
				Before:   from(job.Active),
				State:    job.Completed,
				Attempt:  1,
				Settled:  1,
				RunAt:    at(0),
				Delivery: 1,
			},
		}},
		seen: map[string][]execution{"a": {{attempt: 1, start: at(15), end: at(20)}}},
	}
}

func TestFlawlessEvidenceHasNoBreach(t *testing.T) {
	t.Parallel()
	if b := flawless().verify(); len(b) > 0 {
		t.Errorf("%+v", b)
	}
}

// again gives the job of e another attempt after the first was taken back.
func again(e *evidence) {
	e.w.f.interrupts = 1
	r := e.rows["a"]
	r.Attempt, r.Interruptions, r.Answer = 2, 1, "2"
	e.rows["a"] = r
	e.history["a"] = append(
		e.history["a"][:2],
		step{
			At:            at(11_000),
			Before:        from(job.Active),
			State:         job.Pending,
			Attempt:       1,
			Interruptions: 1,
			RunAt:         at(0),
			Delivery:      2,
		},
		step{
			At:            at(11_010),
			Before:        from(job.Pending),
			State:         job.Active,
			Attempt:       2,
			Interruptions: 1,
			RunAt:         at(0),
			Delivery:      2,
		},
		step{
			At:            at(11_020),
			Before:        from(job.Active),
			State:         job.Completed,
			Attempt:       2,
			Settled:       2,
			Interruptions: 1,
			RunAt:         at(0),
			Delivery:      2,
		},
	)
	e.seen["a"] = append(e.seen["a"], execution{attempt: 2, start: at(11_012), end: at(11_015)})
}

func TestAnInterruptionIsNoBreach(t *testing.T) {
	t.Parallel()
	e := flawless()
	again(e)
	if b := e.verify(); len(b) > 0 {
		t.Errorf("%+v", b)
	}
}

func TestASchedulesJobsShareALabel(t *testing.T) {
	t.Parallel()
	e := flawless()
	e.orders[0].many = true
	e.rows["b"], e.history["b"] = e.rows["a"], e.history["a"]
	if b := e.verify(); len(b) > 0 {
		t.Errorf("%+v", b)
	}
}

func TestEachInvariantIsNoticedWhenBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		invariant, name string
		spoil           func(e *evidence)
	}{
		{"no loss", "a promised job has no row", func(e *evidence) { delete(e.rows, "a") }},
		{"no loss", "a promised job is open",
			func(e *evidence) { e.rows["a"] = row{ID: "a", Ref: "1", State: job.Retry, Attempt: 1} }},
		{"no loss", "another outcome than it can have",
			func(e *evidence) { e.orders[0].want = []job.State{job.Archived} }},
		{"no loss", "an answer that was not true", func(e *evidence) { e.orders[0].seen = job.Canceled }},
		{"no loss", "an outcome too late", func(e *evidence) { e.history["a"][2].At = at(131_000) }},
		{"no phantom", "an execution without a row", func(e *evidence) { e.seen["b"] = []execution{{attempt: 1}} }},
		{"no phantom", "an execution without an id", func(e *evidence) { e.nameless = 1 }},
		{"no phantom", "a job that nobody asked for", func(e *evidence) { e.rows["b"] = row{ID: "b", Ref: "2"} }},
		{"no phantom", "one submission, two jobs", func(e *evidence) { e.rows["b"] = row{ID: "b", Ref: "1"} }},
		{"no phantom", "one key, two answers", func(e *evidence) { e.orders[0].ids = append(e.orders[0].ids, "b") }},
		{"one outcome", "an outcome that was left", func(e *evidence) {
			e.history["a"] = append(e.history["a"],
				step{At: at(40), Before: from(job.Completed), State: job.Archived, Attempt: 1, Settled: 1})
		}},
		{"one outcome", "a late outcome of an old attempt",
			func(e *evidence) { again(e); e.history["a"][4].Settled = 1 }},
		{"one outcome", "the outcome of another attempt", func(e *evidence) {
			again(e)
			r := e.rows["a"]
			r.Answer = "1"
			e.rows["a"] = r
		}},
		{"one outcome", "a claim of what runs", func(e *evidence) { again(e); e.history["a"][2].State = job.Active }},
		{"attempts are honest", "an attempt left out", func(e *evidence) { e.history["a"][1].Attempt = 2 }},
		{"attempts are honest", "a retry used up by a fault",
			func(e *evidence) { e.rows["a"] = row{ID: "a", Ref: "1", State: job.Completed, Attempt: 1, Failures: 1} }},
		{"attempts are honest", "an execution of no attempt", func(e *evidence) { e.seen["a"][0].attempt = 2 }},
		{"attempts are honest", "more interruptions than faults", func(e *evidence) { again(e); e.w.f.interrupts = 0 }},
		{"few duplicates", "an attempt executed twice", func(e *evidence) { again(e); e.seen["a"][1].attempt = 1 }},
		{"legal states only", "a change that is not in the table",
			func(e *evidence) { e.history["a"][1].State, e.history["a"][2].Before = job.Retry, from(job.Retry) }},
		{"on time", "begun before its time", func(e *evidence) { e.history["a"][0].RunAt = at(20) }},
		{"on time", "begun late, while all was well", func(e *evidence) { e.history["a"][1].At = at(2500) }},
		{"cancel holds", "executed after its cancel was answered",
			func(e *evidence) { e.orders[0].canceledAt = at(12) }},
		{"conservation", "more finished than created", func(e *evidence) { *e.conserved = "2 created, 3 finished" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := flawless()
			c.spoil(e)
			var names []string
			for _, b := range e.verify() {
				names = append(names, b.invariant)
			}
			if !strings.Contains(strings.Join(names, ", "), c.invariant) {
				t.Errorf("broken: %q, want %s", names, c.invariant)
			}
		})
	}
}
