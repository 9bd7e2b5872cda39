package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// breach is an invariant that does not hold.
type breach struct {
	invariant string
	what      string
	job       string // id; empty: no single job
}

// evidence is all that is known of a play once it is over.
type evidence struct {
	w          *cluster
	conserved  *string
	unmet      []string // what was waited for in vain
	orders     []order
	complaints []string
	rows       map[string]row
	history    map[string][]step
	seen       map[string][]execution
	nameless   int
	breaches   []breach
}

func (e *evidence) expect(err error) {
	if err != nil {
		e.unmet = append(e.unmet, err.Error())
	}
}

func (e *evidence) gather(ctx context.Context) (err error) {
	e.orders, e.complaints = e.w.book.snapshot()
	e.seen, e.nameless = e.w.sink.executions()
	if e.rows, err = readRows(ctx, e.w.pool); err != nil {
		return err
	}
	e.history, err = readHistory(ctx, e.w.pool)
	return err
}

func (e *evidence) broken(invariant, job, format string, args ...any) {
	e.breaches = append(e.breaches, breach{invariant, fmt.Sprintf(format, args...), job})
}

// verify checks every invariant.
func (e *evidence) verify() []breach {
	for _, text := range append(slices.Clone(e.complaints), e.unmet...) {
		e.broken("answers and life", "", "%s", text)
	}
	e.noLoss()
	e.noPhantom()
	e.oneOutcome()
	e.honestAttempts()
	e.legalStates()
	e.onTime()
	e.cancelHolds()
	if *e.conserved != "" {
		e.broken("conservation", "", "%s", *e.conserved)
	}
	if e.w.f.check != nil {
		e.breaches = append(e.breaches, e.w.f.check(e)...)
	}
	return e.breaches
}

// story is all that is known of one job.
func (e *evidence) story(id string) string {
	var b strings.Builder
	r := e.rows[id]
	fmt.Fprintf(
		&b,
		"  job %s ref %s %s %s attempt %d failures %d interruptions %d errors %d %q\n",
		id,
		r.Ref,
		r.Type,
		r.State,
		r.Attempt,
		r.Failures,
		r.Interruptions,
		r.Errors,
		r.LastError,
	)
	for _, o := range e.orders {
		if o.ref == r.Ref && r.Ref != "" {
			fmt.Fprintf(
				&b,
				"  %s; answered %s, ids %v, canceled %s, read as %q\n",
				o.kind,
				clock(o.answeredAt),
				o.ids,
				clock(o.canceledAt),
				o.seen,
			)
		}
	}
	for _, s := range e.history[id] {
		fmt.Fprintf(&b, "    %s\n", s)
	}
	for _, x := range e.seen[id] {
		fmt.Fprintf(
			&b,
			"    sink: attempt %d from %s to %s, broken off: %v\n",
			x.attempt,
			clock(x.start),
			clock(x.end),
			x.broken,
		)
	}
	return b.String()
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format("15:04:05.000")
}

func (e *evidence) result() *result {
	r := &result{jobs: len(e.rows)}
	var last string
	if r.recovery, last = e.recovery(); last != "" && e.w.s.o.tell {
		fmt.Fprintf(
			os.Stderr,
			"%s: struck %s, healed %s; last of all\n%s",
			e.w.f.name,
			clock(e.w.struck),
			clock(e.w.healed),
			e.story(last),
		)
	}
	for _, list := range e.seen {
		r.twice += len(list) - 1
	}
	r.notes = e.notes()
	return r
}

// recovery is the time from the end of the fault until all that was open and due then had its
// outcome; jobs that fail by their own doing, and so take their time, left aside.
func (e *evidence) recovery() (longest time.Duration, job string) {
	for id, steps := range e.history {
		last := steps[len(steps)-1]
		if first := steps[0]; first.At.After(e.w.healed) || first.RunAt.After(e.w.healed) || e.rows[id].Failures > 0 {
			continue
		}
		if took := last.At.Sub(e.w.healed); took > longest {
			longest, job = took, id
		}
	}
	return longest, job
}

func (e *evidence) notes() string {
	counts := map[string]int{}
	for _, n := range e.w.notes {
		counts[n]++
	}
	var list []string
	for n, c := range counts {
		if c > 1 {
			n = fmt.Sprintf("%d %s", c, n)
		}
		list = append(list, n)
	}
	slices.Sort(list)
	interrupted := 0
	for _, r := range e.rows {
		interrupted += btoi(r.Interruptions > 0)
	}
	if interrupted > 0 {
		list = append(list, fmt.Sprintf("%d jobs interrupted", interrupted))
	}
	if n := e.w.book.refusals; n > 0 {
		list = append(list, fmt.Sprintf("%d submissions refused", n))
	}
	if n := e.w.book.broken; n > 0 {
		list = append(list, fmt.Sprintf("%d requests unanswered", n))
	}
	return strings.Join(list, ", ")
}
