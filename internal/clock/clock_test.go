package clock

import (
	"testing"
	"time"
)

// observe lets c read a clock that is ahead by offset, with a round trip that ends at once or after
// a while.
func observe(c *Clock, offset, trip time.Duration) time.Duration {
	began := time.Now()
	return c.Observe(began, began.Add(trip), began.Add(trip/2+offset).Round(0))
}

func near(t *testing.T, what string, got, want, most time.Duration) {
	t.Helper()
	if (got - want).Abs() > most {
		t.Errorf("%s is %v, want %v within %v", what, got, want, most)
	}
}

func TestAClockFollowsTheLedgersWhateverTheProcesssShows(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{0, 2 * time.Millisecond, -5 * time.Second, 10 * time.Minute} {
		c := New()
		if c.Known() || c.Offset() != 0 {
			t.Error("a clock that observed nothing knows an offset")
		}
		observe(c, offset, 100*time.Microsecond)
		near(t, "the offset", c.Offset(), offset, c.Error()+time.Millisecond)
		near(t, "the time", time.Until(c.Now()), offset, c.Error()+5*time.Second)
		if c.Earliest().After(c.Now()) {
			t.Error("the earliest time lies after the likeliest one")
		}
	}
}

func TestTheMoreExactOfTwoReadingsThatAgreeCounts(t *testing.T) {
	t.Parallel()
	c := New()
	observe(c, 5*time.Second, 2*time.Millisecond)
	if step := observe(c, 5*time.Second+300*time.Millisecond, time.Second); step != 0 {
		t.Errorf("a slow answer was taken for a step of %v", step)
	}
	near(t, "the offset after a slow answer", c.Offset(), 5*time.Second, 2*time.Millisecond)
	if step := observe(c, 5*time.Second+500*time.Microsecond, 100*time.Microsecond); step != 0 {
		t.Errorf("a quick answer was taken for a step of %v", step)
	}
	near(t, "the offset after a quick answer", c.Offset(), 5*time.Second+500*time.Microsecond, 200*time.Microsecond)
}

func TestAStepOfTheLedgersClockIsTakenOverAtOnce(t *testing.T) {
	t.Parallel()
	c := New()
	observe(c, 0, time.Millisecond)
	for _, offset := range []time.Duration{-10 * time.Minute, 5 * time.Second, 0} {
		before := c.Offset()
		near(t, "the step", observe(c, offset, 4*time.Millisecond), offset-before, 5*time.Millisecond)
		near(t, "the offset", c.Offset(), offset, 5*time.Millisecond)
	}
}

func TestAnOldReadingGivesWayToANewOne(t *testing.T) {
	t.Parallel()
	c := &Clock{origin: time.Now().Add(-time.Hour)} // the first reading is an hour old
	began := c.origin
	c.Observe(began, began.Add(time.Millisecond), began.Add(time.Second).Round(0))
	if err := c.Error(); err < time.Second {
		t.Errorf("after an hour the error is said to be %v", err)
	}
	observe(c, 1500*time.Millisecond, 20*time.Millisecond)
	near(t, "the offset", c.Offset(), 1500*time.Millisecond, 20*time.Millisecond)
}
