package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/internal/job"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustRead(t testing.TB, timing job.Timing) *timing {
	t.Helper()
	read, err := readTiming(timing, at(t, "2026-01-01T00:00:00Z"))
	if err != nil {
		t.Fatalf("%+v: %v", timing, err)
	}
	return read
}

// times are the next n, in the schedule's own zone.
func (p *timing) times(after time.Time, n int) []string {
	var list []string
	for p, now := p, p.next(after); len(list) < n && !now.IsZero(); now = p.next(now) {
		list = append(list, now.In(p.loc).Format(time.RFC3339))
	}
	return list
}

func TestTheDaysOnWhichClocksAreChanged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone, cron, after string
		want                    []string
	}{
		{"Berlin, forward: 2:30 runs right after the gap, and at its own time the day after", "Europe/Berlin",
			"30 2 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"Berlin, forward: what falls into the gap together with 3:00 runs once", "Europe/Berlin", "*/20 * * * *",
			"2026-03-29T01:30:00+01:00",
			[]string{"2026-03-29T01:40:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:20:00+02:00"}},
		{"Berlin, back: 2:30 runs at its first occurrence only", "Europe/Berlin", "30 2 * * *",
			"2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"Berlin, back: the hour is not run through twice", "Europe/Berlin", "*/30 * * * *",
			"2026-10-25T01:45:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T03:00:00+01:00"}},
		{"Berlin, back: computed from within the second pass", "Europe/Berlin", "*/30 * * * *",
			"2026-10-25T02:10:00+01:00",
			[]string{"2026-10-25T03:00:00+01:00"}},
		{"New York, forward", "America/New_York", "30 2 * * *", "2026-03-07T12:00:00-05:00",
			[]string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"}},
		{"New York, back", "America/New_York", "30 1 * * *", "2026-10-31T12:00:00-04:00",
			[]string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		{"Lord Howe, forward by half an hour", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"Lord Howe, back by half an hour", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"Lord Howe, back: the quarters of the half hour that exists twice", "Australia/Lord_Howe", "*/15 1-2 * * *",
			"2026-04-05T01:20:00+11:00",
			[]string{"2026-04-05T01:30:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-05T02:00:00+10:30"}},
		{"Santiago, forward at midnight", "America/Santiago", "@daily", "2026-09-05T12:00:00-04:00",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		{"Apia, a day that was left out", "Pacific/Apia", "0 12 * * *", "2011-12-29T13:00:00-10:00",
			[]string{"2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
		{"an hour long job by interval takes no notice", "", "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timing, after := job.Timing{Cron: c.cron, Timezone: c.zone}, c.after
			if c.cron == "" {
				timing, after = job.Timing{
					Every:    time.Hour,
					Timezone: "Europe/Berlin",
					StartAt:  at(t, "2026-03-29T00:30:00Z"),
				}, "2026-03-28T00:00:00Z"
				c.want = []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00"}
			}
			if got := mustRead(t, timing).times(at(t, after), len(c.want)); !slices.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestTheCalendarsOddDays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cron, after string
		want        []string
	}{
		{"0 0 29 2 *", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"0 0 29 2 *", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}}, // 2100 is no leap year
		{"0 0 31 * *", "2026-01-31T00:00:00Z", []string{"2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"}},
		{"0 18 L * *", "2028-01-31T18:00:00Z", []string{"2028-02-29T18:00:00Z", "2028-03-31T18:00:00Z"}},
		{"0 18 LW * *", "2026-01-01T00:00:00Z", []string{"2026-01-30T18:00:00Z", "2026-02-27T18:00:00Z"}},
		{"*/15 9-17 * * MON-FRI", "2026-01-02T17:45:00Z", []string{"2026-01-05T09:00:00Z", "2026-01-05T09:15:00Z"}},
		{"0 8 * * MON#1", "2026-01-05T08:00:00Z", []string{"2026-02-02T08:00:00Z"}},
		{"0 0 13 * FRI", "2026-02-06T00:00:00Z", []string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"}},
		// either day, as in POSIX
		{"59 59 23 31 12 *", "2026-01-01T00:00:00Z", []string{"2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"}},
		{"@monthly", "2026-01-15T00:00:00Z", []string{"2026-02-01T00:00:00Z"}},
	} {
		if got := mustRead(t, job.Timing{Cron: c.cron, Timezone: "UTC"}).times(at(t, c.after),
			len(c.want)); !slices.Equal(
			got,
			c.want,
		) {
			t.Errorf("%s: got %v, want %v", c.cron, got, c.want)
		}
	}
}

func TestAnIntervalCountsFromItsStartAndKeepsToItsBounds(t *testing.T) {
	t.Parallel()
	bounded := job.Timing{
		Every:   90 * time.Second,
		StartAt: at(t, "2026-06-01T00:00:30Z"),
		EndAt:   at(t, "2026-06-01T00:03:30Z"),
	}
	want := []string{"2026-06-01T00:00:30Z", "2026-06-01T00:02:00Z", "2026-06-01T00:03:30Z"}
	if got := mustRead(t, bounded).times(at(t, "2020-01-01T00:00:00Z"), 5); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	free := mustRead(t, job.Timing{Every: time.Minute}) // created at 2026-01-01T00:00:00Z
	for after, want := range map[string]string{"2026-01-01T00:00:00Z": "2026-01-01T00:01:00Z",
		"2026-01-01T00:00:59Z": "2026-01-01T00:01:00Z",
		"2025-12-31T23:58:30Z": "2025-12-31T23:59:00Z", "2025-12-31T23:58:00Z": "2025-12-31T23:59:00Z"} {
		if got := free.times(at(t, after), 1); got[0] != want {
			t.Errorf("after %s: %v, want %s", after, got, want)
		}
	}
	yearly := mustRead(t, job.Timing{Every: 365 * 24 * time.Hour}) // further off than a time.Duration is long
	if got := yearly.times(at(t, "2526-01-01T00:00:00Z"), 2); got[0] != "2526-09-02T00:00:00Z" ||
		got[1] != "2527-09-02T00:00:00Z" {
		t.Errorf("got %v", got)
	}
}

func TestWhatIsNoTimingIsNamedByItsField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		timing job.Timing
		field  string
	}{
		{job.Timing{Cron: "* * * * * * *"}, "/cron"},
		{job.Timing{Cron: "* * * *"}, "/cron"},
		{job.Timing{Cron: "0 0 31 2 *"}, "/cron"},
		{job.Timing{Cron: "0 0 5-0 * *"}, "/cron"},
		{job.Timing{Cron: "0 0 1 3,5-0/2 *"}, "/cron"},
		{job.Timing{Cron: "0 0 0 25-00 * *"}, "/cron"},
		{job.Timing{Cron: "0 0 30 2 *"}, "/cron"},
		{job.Timing{Cron: "@every -1m"}, "/cron"},
		{job.Timing{Cron: "@every 1h"}, "/cron"},
		{job.Timing{Cron: "@reboot"}, "/cron"},
		{job.Timing{Cron: "TZ=Europe/Berlin 0 2 * * *"}, "/cron"},
		{job.Timing{Cron: "CRON_TZ=Europe/Berlin 0 2 * * *"}, "/cron"},
		{job.Timing{Cron: "60 * * * *"}, "/cron"},
		{job.Timing{Cron: ", * * * *"}, "/cron"},
		{job.Timing{Cron: "* * , * *"}, "/cron"},
		{job.Timing{Cron: "1,,2 * * * *"}, "/cron"},
		{job.Timing{Cron: "1, * * * *"}, "/cron"},
		{job.Timing{Cron: "*/0 * * * *"}, "/cron"},
		{job.Timing{Cron: " 0 * * * *"}, "/cron"},
		{job.Timing{Cron: "H * * * *"}, "/cron"},
		{job.Timing{Cron: strings.Repeat("1,", 512) + "1 * * * *"}, "/cron"},
		{job.Timing{Cron: "0 * * * *", Timezone: "Mars/Olympus"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Timezone: "Local"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Timezone: "../etc/passwd"}, "/timezone"},
		// what lies beside the zones on many machines, and means something else on each, or counts
		// leap seconds
		{job.Timing{Cron: "0 * * * *", Timezone: "localtime"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Timezone: "posixrules"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Timezone: "right/Europe/Berlin"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Timezone: "posix/Europe/Berlin"}, "/timezone"},
		{job.Timing{Cron: "0 * * * *", Every: time.Minute}, "/every"},
		{job.Timing{}, "/every"},
		{job.Timing{Every: -time.Minute}, "/every"},
		{job.Timing{Every: 1500 * time.Millisecond}, "/every"},
		{job.Timing{Every: 2 * job.MaxEvery}, "/every"},
	} {
		_, err := readTiming(c.timing, time.Now())
		if e, ok := err.(*errTime); !ok || e.field != c.field { //nolint:errorlint // it must be this very type
			t.Errorf("%+v: %v, want %s", c.timing, err, c.field)
		}
	}
}

var zones = []string{
	"UTC",
	"Europe/Berlin",
	"America/New_York",
	"Australia/Lord_Howe",
	"America/Santiago",
	"Africa/Casablanca",
	"Asia/Kathmandu",
	"Pacific/Apia",
	"Pacific/Chatham",
	"America/Sao_Paulo",
	"Asia/Tehran",
	"Antarctica/Troll",
}

func drawTiming(t *rapid.T) job.Timing {
	if rapid.Bool().Draw(t, "interval") {
		return job.Timing{
			Every:    time.Duration(rapid.IntRange(1, 200_000).Draw(t, "seconds")) * time.Second,
			Timezone: rapid.SampledFrom(zones).Draw(t, "zone"),
		}
	}
	field := func(name string, low, high int) string {
		a, b := rapid.IntRange(low, high).Draw(t, name), rapid.IntRange(low, high).Draw(t, name)
		return rapid.SampledFrom([]string{"*", fmt.Sprint(a), fmt.Sprintf("%d,%d", a, b),
			fmt.Sprintf("%d-%d", min(a, b), max(a, b)), "*/7"}).
			Draw(t, name)
	}
	cron := strings.Join(
		[]string{
			field("minute", 0, 59),
			field("hour", 0, 23),
			rapid.SampledFrom([]string{"*", "1", "28", "L"}).Draw(t, "day"),
			"*",
			rapid.SampledFrom([]string{"*", "*", "0", "MON-FRI"}).Draw(t, "weekday"),
		},
		" ",
	)
	if rapid.Bool().Draw(t, "seconds?") {
		cron = field("second", 0, 59) + " " + cron
	}
	return job.Timing{Cron: cron, Timezone: rapid.SampledFrom(zones).Draw(t, "zone")}
}

// The times are the same from whichever moment they are computed, and strictly rising.
func TestPlannedTimesRiseAndDoNotDependOnWhoComputesThem(t *testing.T) {
	t.Parallel()
	created := at(t, "2026-01-01T00:00:00Z")
	rapid.Check(t, func(t *rapid.T) {
		drawn := drawTiming(t)
		one, err := readTiming(drawn, created)
		if err != nil {
			t.Skip(err.Error())
		}
		other, err := readTiming(drawn, created)
		if err != nil {
			t.Fatal(err)
		}
		from := created.Add(time.Duration(rapid.Int64Range(-15*365*86400, 15*365*86400).Draw(t, "from")) * time.Second)
		last := from
		for range 40 {
			n := one.next(last)
			if n.IsZero() || !n.After(last) {
				t.Fatalf("%+v: %v after %v", drawn, n, last)
			}
			between := last.Add(time.Duration(rapid.Float64Range(0, 1).Draw(t, "between") * float64(n.Sub(last)-1)))
			if got := other.next(between); !got.Equal(n) {
				t.Fatalf("%+v: from %v comes %v, from %v %v", drawn, last, n, between, got)
			}
			last = n
		}
	})
}

// The slow and obvious way: look at every second around each transition.
func TestAWallTimeIsItsFirstInstantOrTheEndOfTheGap(t *testing.T) {
	t.Parallel()
	for _, name := range zones {
		loc := Zone(name)
		for _, change := range transitions(loc, at(t, "2009-01-01T00:00:00Z"), at(t, "2013-01-01T00:00:00Z")) {
			first := map[time.Time]time.Time{}
			lowest, highest := wallClock(change, loc), wallClock(change, loc)
			for i := change.Add(-26 * time.Hour); i.Before(change.Add(26 * time.Hour)); i = i.Add(time.Minute) {
				w := wallClock(i, loc)
				if _, twice := first[w]; !twice {
					first[w] = i
				}
			}
			lowest, highest = lowest.Add(-90*time.Minute), highest.Add(90*time.Minute)
			for w := lowest; w.Before(highest); w = w.Add(time.Minute) {
				want, exists := first[w]
				if !exists {
					want = change
				}
				if got := instant(w, loc); !got.Equal(want) {
					t.Fatalf("%s, wall %v: %v, want %v", name, w, got, want)
				}
			}
		}
	}
}

func transitions(loc *time.Location, from, to time.Time) (list []time.Time) {
	for t := from; ; {
		_, end := t.In(loc).ZoneBounds()
		if end.IsZero() || end.After(to) {
			return list
		}
		list, t = append(list, end), end
	}
}

func FuzzACronExpressionIsReadOrRefusedAtOnce(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@daily", "0 0 L * FRI#L", "1-5/2,7 */3 15W JAN-DEC MON", "0 0 29 2 1",
		", , , , ,", "22-2 * 31-1 * *"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		spec, err := readCron(text)
		if err == nil {
			read := &timing{wall: spec, loc: Zone("Europe/Berlin")}
			from := at(t, "2026-03-28T00:00:00Z")
			if n := read.next(from); n.IsZero() || !n.After(from) {
				t.Errorf("%q: %v", text, n)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q took %v", text, took)
		}
	})
}
