// Command chaos proves the promise. It starts real processes (PostgreSQL with fsync, Redis with its
// append-only file, the built API and workers), puts load on them, breaks something, heals it,
// drains, and then checks every invariant against the ledger, its history, a sink that wrote down
// every execution, and Redis:
//
//	go run ./chaos [-short] [-run regexp] [-seed n] [-rate n] [-long] [-race] [-keep] [-tell] [-list]
//
// It prints a line for each fault and ends with code 1 at the first invariant that does not hold,
// with the histories of the jobs concerned. docs/durability.md says what the invariants are.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only  *regexp.Regexp
	short bool
	long  bool
	race  bool
	keep  bool
	tell  bool
	seed  uint64
	rate  int
	bin   string
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	o, list, err := parse(args, errs)
	if err != nil {
		return 2
	}
	if list {
		for _, f := range faults() {
			fmt.Fprintf(out, "%-24s %s\n", f.name, f.about)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := suite(ctx, o, out); err != nil {
		fmt.Fprintln(errs, "chaos:", err)
		return 1
	}
	return 0
}

func parse(args []string, errs io.Writer) (o options, list bool, err error) {
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.SetOutput(errs)
	only := fs.String("run", "", "only the faults whose names match this regular expression")
	fs.BoolVar(&o.short, "short", false, "the few faults that every change must survive, in about 3 minutes")
	fs.BoolVar(&o.long, "long", false, "outages, churn and overload for their full minutes")
	fs.BoolVar(&o.race, "race", false, "build the processes with the race detector")
	fs.BoolVar(&o.keep, "keep", false, "keep the processes' logs")
	fs.BoolVar(&o.tell, "tell", false, "print the history of the job that took longest to recover")
	fs.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the load; the same seed gives the same jobs")
	fs.IntVar(&o.rate, "rate", 150, "jobs a second")
	fs.StringVar(&o.bin, "bin", "", "a directory with api, worker, waybill and poisonworker; empty: build them")
	fs.BoolVar(&list, "list", false, "list the faults")
	if err := fs.Parse(args); err != nil {
		return o, false, err
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(errs, "chaos: -run:", err)
	}
	return o, list, err
}

// suite runs the faults one after another, all on one PostgreSQL, each with a database, a Redis and
// processes of its own.
func suite(ctx context.Context, o options, out io.Writer) error {
	picked := pick(o)
	if len(picked) == 0 {
		return fmt.Errorf("no fault matches -run %s", o.only)
	}
	s, err := newEnvironment(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	t := newTable(out, o.seed)
	for _, f := range picked {
		r, err := s.play(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		t.row(f, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	t.end()
	return nil
}

func pick(o options) (picked []fault) {
	for _, f := range faults() {
		if o.only.MatchString(f.name) && (f.short || !o.short) {
			picked = append(picked, f)
		}
	}
	return picked
}
