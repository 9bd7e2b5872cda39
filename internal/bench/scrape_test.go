package bench

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestMetricsAreReadAndAddedUpByTheirLabels(t *testing.T) {
	t.Parallel()
	s, err := readSamples(strings.NewReader(`# HELP jobs of a queue
# TYPE jobs counter
jobs{queue="low",outcome="completed"} 3
jobs{queue="low",outcome="retry"} 10
jobs{queue="lowest",outcome="completed"} 100
jobs{outcome="completed",queue="low",type="with a } and spaces"} 1e3 1700000000000
jobs_total 7

up 1
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"jobs", []string{`outcome="completed"`, `queue="low"`}, 1003},
		{"jobs", []string{`queue="low"`}, 1013},
		{"jobs", nil, 1113},
		{"jobs", []string{`queue="none"`}, 0},
		{"jobs_total", nil, 7}, {"up", nil, 1}, {"u", nil, 0},
	} {
		if got := s.sum(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v: got %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if !s.has("up") || !s.has("jobs") || s.has("job") {
		t.Error("a name is not known, or one that is not there")
	}
	for _, text := range []string{"up", "up x", "up{a=\"b\"}", "{} "} {
		if got, err := readSamples(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestAMeterCountsWhatIsSpentMeanwhile(t *testing.T) {
	t.Parallel()
	spent := map[string]time.Duration{API: time.Hour, Redis: time.Minute, Load: 0}
	m := Meter{}
	for part := range spent {
		m[part] = func(context.Context) (time.Duration, error) { return spent[part], nil }
	}
	got, err := m.Spent(t.Context(), func() error {
		spent[API] += 3 * time.Second
		spent[Redis] += 2 * time.Second
		spent[Load] += 20 * time.Second
		return nil
	})
	want := CPU{API: 3 * time.Second, Redis: 2 * time.Second, Load: 20 * time.Second}
	if err != nil || got[capacity] <= 0 {
		t.Errorf("got %v, %v", got, err)
	}
	delete(got, capacity)
	delete(got, machine)
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got.All() != 5*time.Second {
		t.Errorf("without the load it is %v", got.All())
	}
}

func TestOthersAreWhatIsNotMeasured(t *testing.T) {
	t.Parallel()
	got, known := CPU{
		API:      time.Second,
		Load:     time.Second,
		machine:  6 * time.Second,
		capacity: 16 * time.Second,
	}.others()
	if !known || got != 0.25 {
		t.Errorf("got %v, %v", got, known)
	}
	if _, known := (CPU{API: time.Second, capacity: time.Second}).others(); known {
		t.Error("it is known without a look at the machine")
	}
}

func TestRedisTellsItsThreadsAndItsChildren(t *testing.T) {
	t.Parallel()
	got, err := redisCPU(
		"# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\nused_cpu_sys_children:0.25\r\nused_cpu_user_children:1\r\nused_cpu_sys_main_thread:1\r\n",
	)
	if err != nil || got != 5*time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	for _, info := range []string{"", "# CPU\r\nused_cpu_sys:1\r\n",
		"used_cpu_sys:x\r\nused_cpu_user:1\r\nused_cpu_sys_children:1\r\nused_cpu_user_children:1\r\n"} {
		if got, err := redisCPU(info); err == nil {
			t.Errorf("%q was read as %v", info, got)
		}
	}
}

func TestTheEndIsAskedForMoreOftenTheNearerItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		passed  time.Duration
		done, n int
		want    time.Duration
	}{
		{time.Second, 0, 1000, 20 * time.Millisecond},              // nothing is known yet
		{time.Second, 800, 1000, time.Second / 8},                  // the rest takes a quarter
		{time.Second, 1, 1000, 200 * time.Millisecond},             // far away
		{time.Second, 999, 1000, 4 * time.Millisecond},             // about to end
		{time.Second, 999_999_999, 1e9, 4 * time.Millisecond},      // no overflow
		{100 * time.Second, 10, 20_000, 200 * time.Millisecond},    // no overflow either
		{10 * time.Hour, 1, 1_000_000_000, 200 * time.Millisecond}, // nor here
	} {
		if got := halfway(c.passed, c.done, c.n); got != c.want {
			t.Errorf("%d of %d after %v: got %v, want %v", c.done, c.n, c.passed, got, c.want)
		}
	}
}
