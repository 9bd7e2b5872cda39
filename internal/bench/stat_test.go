package bench

import (
	"testing"
	"time"
)

func TestThePercentileIsAValueThatWasSeen(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // 100 to 1, not sorted
	}
	for _, c := range []struct {
		all  []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 0, 7}, {[]time.Duration{7}, 50, 7}, {[]time.Duration{7}, 100, 7},
		{[]time.Duration{2, 1}, 50, 1}, {[]time.Duration{2, 1}, 51, 2},
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 99.5, 100}, {hundred, 100, 100}, {hundred, 0, 1},
	} {
		if got := percentile(c.all, c.p); got != c.want {
			t.Errorf("p%v of %d values: got %d, want %d", c.p, len(c.all), got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the caller's values were sorted")
	}
}

func TestTheMedianIsTheRunInTheMiddleAndOfTwoTheLowerOne(t *testing.T) {
	t.Parallel()
	run := func(jobs int) Result { return Result{Jobs: jobs, Took: time.Second} }
	for _, c := range []struct {
		runs []Result
		want int
	}{
		{[]Result{run(5)}, 5},
		{[]Result{run(9), run(5)}, 5},
		{[]Result{run(9), run(1), run(5)}, 5},
		{[]Result{run(9), run(1), run(5), run(6)}, 5},
	} {
		if got := median(c.runs, Result.Rate); got.Jobs != c.want {
			t.Errorf("of %d runs: got %d, want %d", len(c.runs), got.Jobs, c.want)
		}
	}
}
