package obs

import (
	"testing"
	"time"
)

func TestTheLagIsTheAgeOfTheHeadOfTheLine(t *testing.T) {
	t.Parallel()
	var l Lag
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, step := range []struct {
		second       int
		joined, left int64
		behind       time.Duration
	}{
		{0, 0, 0, 0},
		{1, 10, 10, 0},
		{2, 30, 10, 0},               // twenty joined just now
		{3, 30, 20, time.Second},     // the head came at 2
		{4, 50, 20, 2 * time.Second}, // the same head
		{5, 50, 30, time.Second},     // those of 2 are gone, the head came at 4
		{6, 45, 30, 2 * time.Second}, // counts read one after the other may seem to fall
		{7, 50, 50, 0},               // none is left
		{8, 50, 50, 0},
		{9, 60, 50, 0},
		{99, 60, 50, 90 * time.Second}, // nothing moves
	} {
		l.Sample(at(step.second), step.joined, step.left)
		if got := l.Behind(at(step.second)); got != step.behind {
			t.Errorf("second %d: %v behind, want %v", step.second, got, step.behind)
		}
	}
}

func TestTheLagOfALongStandstillNeedsBoundedMemory(t *testing.T) {
	t.Parallel()
	var l Lag
	for i := range 3 * lagKept {
		l.Sample(time.Now(), int64(i+1), 0)
	}
	if len(l.samples) > lagKept {
		t.Errorf("%d samples are kept", len(l.samples))
	}
}
