package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/bench"
)

// few is how many jobs are open, of each kind, on the ledger that counts as empty: enough for a
// page of every list.
const few = 200

// distant is when scheduled jobs are due.
var distant = time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339)

// scale measures the same on a ledger that is almost empty, and on one with as many jobs as the
// flags say.
func (s *stage) scale(ctx context.Context, out io.Writer) error {
	ours, end, err := bench.Waybill(s.o.Config, s.deployment())
	if err != nil {
		return err
	}
	defer end()
	v := &survey{stage: s, system: ours, client: bench.NewClient(s.deployment())}
	if err := v.client.Pause(ctx, waitingQueue); err != nil {
		return err
	}
	if err := v.open(ctx, few); err != nil {
		return err
	}
	if err := v.warmUp(ctx); err != nil {
		return err
	}
	empty, err := v.take(ctx, v.someIDs)
	if err != nil {
		return fmt.Errorf("on the empty ledger: %w", err)
	}
	memory, err := v.fill(ctx)
	if err != nil {
		return fmt.Errorf("fill the ledger: %w", err)
	}
	full, err := v.take(ctx, s.filledIDs)
	if err != nil {
		return fmt.Errorf("on the full ledger: %w", err)
	}
	return errors.Join(
		compare(empty, full).Write(out, s.o.Markdown),
		atRest(empty, full).Write(out, s.o.Markdown),
		memory.Write(out, s.o.Markdown),
	)
}

// waitingQueue is paused, and has the open jobs.
const waitingQueue = "low"

// survey is what is measured twice.
type survey struct {
	*stage
	system bench.System
	client *bench.Client
}

// finding is one line of it: jobs or requests a second, or how long one takes.
type finding struct {
	name  string
	timed bool // by its p50, not by its rate
	r     bench.Result
}

// slowness is how long one job or request takes.
func (f finding) slowness() float64 {
	if f.timed {
		return f.r.Percentile(50).Seconds()
	}
	return 1 / f.r.Rate()
}

// lists are first pages. Of the empty ledger they are full, too.
var lists = []struct{ name, path string }{
	{"own jobs", "/v1/jobs"},
	{"jobs of all accounts", "/v1/jobs?owner=all"},
	{"completed ones", "/v1/jobs?state=completed"},
	{"pending ones", "/v1/jobs?owner=all&state=pending"},
	{"scheduled ones of a queue", "/v1/jobs?queue=" + waitingQueue + "&state=scheduled"},
	{"those of a queue", "/v1/jobs?owner=all&queue=" + waitingQueue},
	{"those of a type", "/v1/jobs?type=debug.echo"},
	{"none: a state that its queue does not have", "/v1/jobs?queue=default&state=scheduled"},
}

// warmUp runs some jobs, so that the ledger that counts as empty has a page of finished ones, too.
func (v *survey) warmUp(ctx context.Context) error {
	_, err := v.system.Measure[bench.Drain](ctx)
	return err
}

// findings are what one survey found.
type findings struct {
	all    []finding
	idle   bench.Result
	memory map[string]int64
}

func (v *survey) take(
	ctx context.Context,
	ids func(ctx context.Context, n int) ([]string, error),
) (f findings, err error) {
	if err := v.calm(ctx); err != nil {
		return f, err
	}
	v.o.Log("idle")
	if f.idle, err = v.system.Measure[bench.Idle](ctx); err != nil {
		return f, err
	}
	if err := v.reads(ctx, &f, ids); err != nil {
		return f, err
	}
	for _, m := range []struct{ name, measurement string }{{"submit", bench.Single},
		{"claim and settle", bench.Drain}} {
		r, err := v.median(ctx, m.measurement)
		if err != nil {
			return f, err
		}
		f.all = append(f.all, finding{name: m.name, r: r})
	}
	f.memory, err = v.system.Memory(ctx)
	return f, err
}

func (v *survey) reads(ctx context.Context, f *findings, ids func(ctx context.Context, n int) ([]string, error)) error {
	some, err := ids(ctx, min(v.o.Jobs, 5000))
	if err != nil {
		return err
	}
	v.o.Log("reading jobs")
	r, err := v.client.Get(ctx, 4, len(some), func(i int) string { return "/v1/jobs/" + some[i] })
	if err != nil {
		return err
	}
	f.all = append(f.all, finding{"GET of any job", true, r})
	for _, l := range lists {
		v.o.Log("list " + l.name)
		if r, err = v.client.Get(ctx, 1, 100, func(int) string { return l.path }); err != nil {
			return err
		}
		f.all = append(f.all, finding{"list " + l.name, true, r})
	}
	return nil
}

func (v *survey) median(ctx context.Context, name string) (bench.Result, error) {
	var runs []bench.Result
	for i := range v.o.Runs {
		v.o.Log(fmt.Sprintf("%s, run %d of %d", name, i+1, v.o.Runs))
		r, err := v.system.Measure[name](ctx)
		if err != nil {
			return r, err
		}
		runs = append(runs, r)
	}
	return bench.Median(runs), nil
}

func compare(empty, full findings) bench.Table {
	t := bench.Table{
		{
			"",
			"empty /s",
			"full /s",
			"empty p50 ms",
			"full p50 ms",
			"empty p99 ms",
			"full p99 ms",
			"empty CPU µs/job",
			"full CPU µs/job",
			"× as slow",
		},
	}
	for i, e := range empty.all {
		f := full.all[i]
		line := []string{e.name}
		for _, cell := range []func(finding) string{
			func(f finding) string { return fmt.Sprintf("%.0f", f.r.Rate()) },
			func(f finding) string { return millis(f.r, 50) },
			func(f finding) string { return millis(f.r, 99) },
			func(f finding) string {
				if f.r.CPU == nil {
					return ""
				}
				return fmt.Sprintf("%.0f", float64(f.r.CPU.All().Microseconds())/float64(f.r.Jobs))
			},
		} {
			line = append(line, cell(e), cell(f))
		}
		t = append(t, append(line, fmt.Sprintf("%.2f", f.slowness()/e.slowness())))
	}
	return t
}

// atRest is what waiting costs: the reconciler goes over every open job now and then.
func atRest(empty, full findings) bench.Table {
	t := bench.Table{{"idle", "API % of a core", "worker %", "Redis %", "PostgreSQL %", "API MB", "worker MB"}}
	for _, s := range []struct {
		name string
		f    findings
	}{{"empty", empty}, {"full", full}} {
		line := []string{s.name}
		for _, part := range []string{bench.API, bench.Worker, bench.Redis, bench.Postgres} {
			line = append(line, fmt.Sprintf("%.2f", 100*s.f.idle.CPU[part].Seconds()/s.f.idle.Took.Seconds()))
		}
		for _, part := range []string{bench.API, bench.Worker} {
			line = append(line, fmt.Sprintf("%.0f", float64(s.f.memory[part])/(1<<20)))
		}
		t = append(t, line)
	}
	return t
}

func millis(r bench.Result, p float64) string {
	if r.Latency == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(r.Percentile(p))/float64(time.Millisecond))
}

// open submits n jobs that wait in a paused queue, and n that wait for a distant time.
func (v *survey) open(ctx context.Context, n int) error {
	return errors.Join(v.submit(ctx, n, ""), v.submit(ctx, n, distant))
}

func (v *survey) submit(ctx context.Context, n int, runAt string) error {
	body := fmt.Sprintf(`{"type":"debug.echo","payload":{"n":1},"queue":%q}`, waitingQueue)
	if runAt != "" {
		body = fmt.Sprintf(`{"type":"debug.echo","payload":{"n":1},"queue":%q,"run_at":%q}`, waitingQueue, runAt)
	}
	return v.client.Submit(ctx, n, v.o.Batch, body)
}

// fill submits the open jobs, as users do, and writes the finished ones into the ledger. The table
// is what the open ones cost.
func (v *survey) fill(ctx context.Context) (bench.Table, error) {
	t := bench.Table{{"", "jobs", "in Redis", "bytes of Redis for each"}}
	for _, kind := range []struct{ name, runAt, list string }{{"pending", "", "pending"},
		{"scheduled", distant, "scheduled"}} {
		n := v.o.scaleOpen / 2
		v.o.Log(fmt.Sprintf("submitting %d %s jobs", n, kind.name))
		before, err := v.redisHolds(ctx, kind.list)
		if err != nil {
			return nil, err
		}
		if err := v.submit(ctx, n, kind.runAt); err != nil {
			return nil, err
		}
		after, err := v.redisHolds(ctx, kind.list)
		if err != nil {
			return nil, err
		}
		added := after.tasks - before.tasks
		t = append(
			t,
			[]string{
				kind.name,
				fmt.Sprint(n),
				fmt.Sprint(added),
				fmt.Sprintf("%.0f", float64(after.bytes-before.bytes)/float64(max(added, 1))),
			},
		)
	}
	return t, v.writeFinished(ctx)
}

type holding struct{ tasks, bytes int64 }

func (v *survey) redisHolds(ctx context.Context, list string) (h holding, err error) {
	opt, err := redis.ParseURL(v.redis.URL())
	if err != nil {
		return h, err
	}
	c := redis.NewClient(opt)
	defer c.Close()
	key := fmt.Sprintf("asynq:{%s}:%s", waitingQueue, list)
	if list == "pending" {
		h.tasks, err = c.LLen(ctx, key).Result()
	} else {
		h.tasks, err = c.ZCard(ctx, key).Result()
	}
	if err != nil {
		return h, err
	}
	info, err := c.InfoMap(ctx, "memory").Result()
	if err != nil {
		return h, err
	}
	_, err = fmt.Sscan(info["Memory"]["used_memory"], &h.bytes)
	return h, err
}
