package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/bench"
)

// river is River on a database of its own on the same server. A process of it takes part in one
// measurement: client and worker are one, and there is no HTTP in front of it.
func (s *stage) river() []bench.System {
	sys := bench.System{Name: "River", Measure: map[string]func(context.Context) (bench.Result, error){}}
	for _, name := range []string{bench.Single, bench.Batch, bench.Drain} {
		sys.Measure[name] = func(ctx context.Context) (bench.Result,
			error) {
			return s.playRiver(ctx, name, s.o.riverConnections)
		}
	}
	return []bench.System{
		sys,
		{Name: "River, one connection", Measure: map[string]func(context.Context) (bench.Result, error){
			bench.Batch: func(ctx context.Context) (bench.Result, error) { return s.playRiver(ctx, bench.Batch, 1) }}},
	}
}

// playRiver speaks with bench/river, which says what its lines mean.
func (s *stage) playRiver(ctx context.Context, what string, connections int) (r bench.Result, err error) {
	r.Jobs = s.o.Jobs
	switch what {
	case bench.Single: // it takes many times as long as the others, and is as steady with fewer
		r.Jobs = max(r.Jobs/4, 1)
	default:
		r.Jobs = max(r.Jobs/s.o.Batch, 1) * s.o.Batch
	}
	if what == bench.Batch {
		r.Jobs *= 3
	}
	cmd := exec.CommandContext(ctx, s.bin("river"))
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = in.Close()
		if ended := cmd.Wait(); ended != nil {
			err = fmt.Errorf("river: %w: %s", ended, errs.String())
		}
	}()
	order := map[string]any{
		"URL":         s.database("river"),
		"What":        what,
		"Jobs":        r.Jobs,
		"Batch":       s.o.Batch,
		"Connections": connections,
		"Workers":     s.o.riverWorkers,
	}
	if err := json.NewEncoder(in).Encode(order); err != nil {
		return r, err
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // ready
		return r, err
	}
	var took struct {
		Took, CPU time.Duration
		Latency   []time.Duration
	}
	meter := bench.Meter{}
	if s.postmaster != 0 {
		meter[bench.Postgres] = bench.Tree(s.postmaster)
	}
	r.CPU, err = meter.Spent(ctx, func() error {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			return err
		}
		return json.NewDecoder(lines).Decode(&took)
	})
	if err != nil {
		return r, err
	}
	r.Took, r.Latency = took.Took, took.Latency
	part := bench.API
	if what == bench.Drain {
		part = bench.Worker
	}
	r.CPU[part] = took.CPU
	return r, nil
}
