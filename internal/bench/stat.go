package bench

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// median is the run in the middle by what by says of each; of two in the middle it is the lower
// one.
func median(runs []Result, by func(Result) float64) Result {
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b Result) int { return cmp.Compare(by(a), by(b)) })
	return sorted[(len(sorted)-1)/2]
}

// percentile is the smallest of all values that p percent of them do not exceed; 0 of none.
func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0), len(sorted)-1)]
}
