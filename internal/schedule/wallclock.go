package schedule

import "time"

// A wall time is what a clock on the wall shows, written as a time.Time in UTC.

// wallClock is what the clocks of loc show at t.
func wallClock(t time.Time, loc *time.Location) time.Time {
	l := t.In(loc)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant is when the clocks of loc show wall. A wall time that exists twice, where clocks are set
// back, is its first occurrence; one that does not exist, where they are set forward, is the moment
// right after the gap. So instant never falls while wall rises.
func instant(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(
		wall.Year(),
		wall.Month(),
		wall.Day(),
		wall.Hour(),
		wall.Minute(),
		wall.Second(),
		wall.Nanosecond(),
		loc,
	)
	start, end := t.ZoneBounds()
	switch shown := wallClock(t, loc); {
	case shown.After(wall): // in a gap: t was found with the offset of before
		return start.UTC()
	case shown.Before(wall): // in a gap: t was found with the offset of after
		return end.UTC()
	}
	if start.IsZero() {
		return t.UTC()
	}
	_, before := start.Add(-time.Second).In(loc).Zone()
	if first := wall.Add(-time.Duration(before) * time.Second); first.Before(start) {
		return first
	}
	return t.UTC()
}
