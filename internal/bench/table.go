package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Table is lines of cells, the first line being the titles.
type Table [][]string

// Write writes it for a terminal, or in Markdown. A table without lines is left out.
func (t Table) Write(out io.Writer, markdown bool) error {
	if len(t) < 2 {
		return nil
	}
	if markdown {
		rule := strings.Repeat("---|", len(t[0]))
		for i, line := range t {
			fmt.Fprintf(out, "| %s |\n", strings.Join(line, " | "))
			if i == 0 {
				fmt.Fprintf(out, "|%s\n", rule)
			}
		}
		_, err := fmt.Fprintln(out)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, line := range t {
		fmt.Fprintln(w, strings.Join(line, "\t")+"\t")
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// throughput has a line for each measurement and system: medians of its runs, the range of what
// they are sorted by (jobs a second; of latency, the p50), how many times as fast the measurement's
// first system was, CPU time for each job, and what else the machine was busy with.
func throughput(done map[string][]outcome) Table {
	t := Table{
		append(
			[]string{"", "", "jobs/s", "all runs", "p50 ms", "p99 ms", "first is × as fast", "CPU µs/job"},
			append(parts, "others %")...),
	}
	for _, name := range Names() {
		if name == Idle {
			continue
		}
		title := name
		for _, o := range done[name] {
			r := o.typical(name)
			rate := fmt.Sprintf("%.0f", r.Rate())
			if name == Latency { // it is given, not measured
				rate = ""
			}
			line := []string{
				title,
				o.system,
				rate,
				o.spread(name),
				millis(r.Latency, 50),
				millis(r.Latency, 99),
				ratio(name, done[name][0].typical(name), r),
				perJob(r.CPU.All(), r.Jobs),
			}
			for _, part := range parts {
				d, known := r.CPU[part]
				if !known {
					d = -1
				}
				line = append(line, perJob(d, r.Jobs))
			}
			line = append(line, percent(r.CPU.others()))
			t = append(t, line)
			if len(r.Bound) > 0 {
				t = append(
					t,
					pad([]string{"", "  until settled", "", "", millis(r.Bound, 50), millis(r.Bound, 99)}, len(line)),
				)
			}
			title = ""
		}
	}
	return t
}

// figure is what a measurement is about.
func (r Result) figure(name string) float64 {
	if name == Latency {
		return float64(percentile(r.Latency, 50)) / float64(time.Millisecond)
	}
	return r.Rate()
}

// typical is the median run.
func (o outcome) typical(name string) Result {
	return median(o.runs, func(r Result) float64 { return r.figure(name) })
}

func (o outcome) spread(name string) string {
	least, most := math.Inf(1), 0.0
	for _, r := range o.runs {
		least, most = min(least, r.figure(name)), max(most, r.figure(name))
	}
	if name == Latency {
		return fmt.Sprintf("p50 %.1f–%.1f", least, most)
	}
	return fmt.Sprintf("%.0f–%.0f", least, most)
}

// ratio is how many times as fast the first system was.
func ratio(name string, first, r Result) string {
	x := first.figure(name) / r.figure(name)
	if name == Latency {
		x = 1 / x
	}
	return fmt.Sprintf("%.2f", x)
}

// atRest is what the systems cost while they wait, and what memory they have after all that was
// measured.
func atRest(ctx context.Context, idle []outcome, systems []System) (Table, error) {
	t := Table{{"", "API MB", "worker MB", "idle: API % of a core", "worker %", "Redis %", "PostgreSQL %"}}
	for _, s := range systems {
		line := []string{s.Name, "", "", "", "", "", ""}
		if s.Memory != nil {
			m, err := s.Memory(ctx)
			if err != nil {
				return nil, fmt.Errorf("memory of %s: %w", s.Name, err)
			}
			for i, part := range []string{API, Worker} {
				if bytes, known := m[part]; known {
					line[1+i] = fmt.Sprintf("%.0f", float64(bytes)/(1<<20))
				}
			}
		}
		for _, o := range idle {
			for i, part := range parts[:4] {
				if d, known := o.runs[0].CPU[part]; known && o.system == s.Name {
					line[3+i] = fmt.Sprintf("%.2f", 100*d.Seconds()/o.runs[0].Took.Seconds())
				}
			}
		}
		if slices.ContainsFunc(line[1:], func(cell string) bool { return cell != "" }) {
			t = append(t, line)
		}
	}
	return t, nil
}

func pad(line []string, n int) []string { return append(line, make([]string, n-len(line))...) }

func percent(share float64, known bool) string {
	if !known {
		return ""
	}
	return fmt.Sprintf("%.0f", 100*share)
}

func millis(all []time.Duration, p float64) string {
	if len(all) == 0 {
		return ""
	}
	d := float64(percentile(all, p)) / float64(time.Millisecond)
	if d < 100 {
		return fmt.Sprintf("%.1f", d)
	}
	return fmt.Sprintf("%.0f", d)
}

func perJob(d time.Duration, jobs int) string {
	if d < 0 || jobs == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", float64(d.Microseconds())/float64(jobs))
}
