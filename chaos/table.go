package main

import (
	"fmt"
	"io"
	"time"
)

// result is one line of the table.
type result struct {
	jobs     int           // written down in the ledger
	lost     int           // promised, and without an outcome; anything but 0 has failed the run before it gets here
	twice    int           // executions that the sink saw beyond the first of a job
	recovery time.Duration // from the end of the fault until all that waited or ran then had its outcome
	notes    string
}

// table prints the results as Markdown.
type table struct {
	out   io.Writer
	began time.Time
	jobs  int
}

func newTable(out io.Writer, seed uint64) *table {
	fmt.Fprintf(
		out,
		"seed %d\n\n| fault | jobs | lost | executed twice | recovery | seen |\n|---|---:|---:|---:|---:|---|\n",
		seed,
	)
	return &table{out: out, began: time.Now()}
}

func (t *table) row(f fault, r *result) {
	t.jobs += r.jobs
	fmt.Fprintf(
		t.out,
		"| %s: %s | %d | %d | %d | %.1f s | %s |\n",
		f.name,
		f.about,
		r.jobs,
		r.lost,
		r.twice,
		r.recovery.Seconds(),
		r.notes,
	)
}

func (t *table) end() {
	fmt.Fprintf(t.out, "\nevery invariant held: %d jobs, %s\n", t.jobs, time.Since(t.began).Round(time.Second))
}
