// Package schedule plans: it names the times of a schedule, decides what becomes of each, and runs
// the loop that does so. Any number of processes may run it; the ledger, which locks what is being
// decided, is the only thing that they share.
package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/waybill/waybill/internal/job"
)

// searchYears is how far ahead a time is looked for. The calendar repeats after 400 years, and of
// what people ask for, February 29 on a given weekday is the rarest: every 40 years at worst.
const searchYears = 50

// timing is a job.Timing that was read: a strictly rising sequence of times, the same in every
// process.
type timing struct {
	wall   *cron.SpecSchedule // times on the wall clock; nil: every holds
	loc    *time.Location
	every  time.Duration
	anchor time.Time // every counts from here
	start  time.Time // zero: none
	end    time.Time // zero: none
}

// errTime is a value of a Timing that makes no sense; its text completes "/field …".
type errTime struct{ field, detail string }

func (e *errTime) Error() string { return e.field + ": " + e.detail }

// readTiming reads t; created is the schedule's, from which intervals count where StartAt is not
// given. Its errors are *errTime.
func readTiming(t job.Timing, created time.Time) (*timing, error) {
	out := &timing{every: t.Every, anchor: created.UTC().Truncate(time.Second), start: t.StartAt, end: t.EndAt}
	if !t.StartAt.IsZero() {
		out.anchor = t.StartAt
	}
	var err error
	if out.loc, err = zone(t.Timezone); err != nil {
		return nil, &errTime{"/timezone", "is not in the IANA time zone database"}
	}
	switch {
	case t.Cron != "" && t.Every != 0:
		return nil, &errTime{"/every", "cannot be given together with cron"}
	case t.Cron != "":
		out.wall, err = readCron(t.Cron)
	case t.Every < time.Second || t.Every > job.MaxEvery || t.Every%time.Second != 0:
		err = &errTime{"/every", "must be whole seconds, from 1s to 8784h"}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// zone finds a zone by its IANA name. What else lies in a machine's folder of zones is none:
// "Local" and its like mean something else on each machine, and "right/…" counts leap seconds.
func zone(name string) (*time.Location, error) {
	switch folder, _, _ := strings.Cut(name, "/"); folder {
	case "Local", "localtime", "posixrules", "Factory", "posix", "right":
		return nil, errors.New("not a name of IANA")
	}
	return time.LoadLocation(name)
}

// endsAtZero finds a range whose end is 0.
var endsAtZero = regexp.MustCompile(`-0+(/|,|$)`)

// readCron reads a cron expression. The library's own zones are not used: it works on the wall
// clock, where every day has 24 hours, and package schedule says what becomes of the days that have
// not.
func readCron(text string) (*cron.SpecSchedule, error) {
	if len(text) > job.MaxCron {
		return nil, &errTime{"/cron", fmt.Sprintf("may have %d bytes", job.MaxCron)}
	}
	if text == "" || text[0] != '@' && (text[0] < '!' || text[0] == 'T' || text[0] == 'C') {
		return nil, &errTime{"/cron", "must begin with a field or @; the zone goes into timezone"}
	}
	const options = cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.Extended | cron.DowOrDom
	parsed, err := cron.MustNewParser(options).WithMaxSearchYears(searchYears).Parse(text)
	if err != nil {
		return nil, &errTime{"/cron", "is no cron expression: " + job.CleanText(err.Error(), 2*job.MaxCron)}
	}
	emptyItem := func(field string) bool { return slices.Contains(strings.Split(field, ","), "") }
	// The library reads over it, and would search for long where it is the whole field.
	if slices.ContainsFunc(strings.Fields(text), emptyItem) {
		return nil, &errTime{"/cron", "has an empty item in a list"}
	}
	if f := strings.Fields(text); len(f) >= 5 &&
		(endsAtZero.MatchString(f[len(f)-3]) || endsAtZero.MatchString(f[len(f)-2])) {
		// The library takes it for one that goes round.
		return nil, &errTime{"/cron", "has a range that ends at 0: days and months count from 1"}
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, &errTime{"/cron", "is an interval: use every instead"}
	}
	spec.Location = time.UTC
	if spec.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, &errTime{"/cron", "names a time that never comes"}
	}
	return spec, nil
}

// next is the first planned time after t; zero: there is none.
func (p *timing) next(t time.Time) time.Time {
	if !p.start.IsZero() && t.Before(p.start) {
		t = p.start.Add(-time.Nanosecond)
	}
	var n time.Time
	if p.wall == nil {
		n = p.nextInterval(t)
	} else {
		n = p.nextWall(t)
	}
	if !p.end.IsZero() && n.After(p.end) {
		return time.Time{}
	}
	return n
}

// nextInterval counts whole seconds: a time.Duration ends after 292 years.
func (p *timing) nextInterval(t time.Time) time.Time {
	anchor, every := p.anchor.Unix(), int64(p.every/time.Second)
	passed := t.Unix() - anchor
	k := passed / every
	if passed%every < 0 { // division cuts towards zero, the grid goes on below it
		k--
	}
	return time.Unix(anchor+(k+1)*every, 0).UTC()
}

// nextWall walks over the wall times: while clocks run through an hour for the second time, all of
// its wall times lie in the past.
func (p *timing) nextWall(t time.Time) time.Time {
	for w := p.wall.Next(wallClock(t, p.loc)); !w.IsZero(); w = p.wall.Next(w) {
		if n := instant(w, p.loc); n.After(t) {
			return n
		}
	}
	return time.Time{}
}

// shortest is the shortest time between two planned times on one day or on two days in a row,
// without regard to which days are planned; it stops looking below limit.
func (p *timing) shortest(limit time.Duration) time.Duration {
	if p.wall == nil {
		return p.every
	}
	daily := *p.wall
	daily.Dom, daily.Month, daily.Dow = ^uint64(0), ^uint64(0), ^uint64(0)
	shortest := 24 * time.Hour
	if limit <= time.Second { // no two times of a cron expression are closer
		return max(limit, time.Second)
	}
	last := daily.Next(time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC))
	for end := last.Add(24 * time.Hour); last.Before(end) && shortest >= limit; {
		n := daily.Next(last)
		shortest, last = min(shortest, n.Sub(last)), n
	}
	return shortest
}
