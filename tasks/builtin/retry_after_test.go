package builtin

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestRetryAfterReadsSecondsAndDates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		header string
		want   time.Duration // 0: says nothing
	}{
		{"5", 5 * time.Second}, {" 120 ", 2 * time.Minute}, {"007", 7 * time.Second}, {"86401", maxRetryAfter},
		{"99999999999999999999999999", maxRetryAfter}, {in(time.Minute), time.Minute},
		{in(48 * time.Hour), maxRetryAfter},
		{now.Add(time.Hour).Format(time.RFC850), time.Hour}, {now.Add(time.Hour).Format(time.ANSIC), time.Hour},
		{"", 0}, {"0", 0}, {"-1", 0}, {"+5", 0}, {"1.5", 0}, {"5s", 0}, {"soon", 0}, {"0x10", 0}, {"٣", 0}, {in(0), 0},
		{in(-time.Hour), 0}, {"2026-09-01T13:00:00Z", 0},
	} {
		if got, ok := parseRetryAfter(c.header, now); got != c.want || ok != (c.want > 0) {
			t.Errorf("%q: %v, %v", c.header, got, ok)
		}
	}
}

// FuzzRetryAfter holds: whatever an endpoint says, the delay is either refused (0) or more than
// nothing and at most maxRetryAfter, and a plain number of seconds is taken as it is.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"5", "-1", "nonsense", "Tue, 01 Sep 2026 13:00:00 GMT", "9223372036854775808", "1e9"} {
		f.Add(s, uint16(7))
	}
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string, seconds uint16) {
		if d, ok := parseRetryAfter(header, now); ok != (d > 0) || d < 0 || d > maxRetryAfter {
			t.Fatalf("%q: %v, %v", header, d, ok)
		}
		want := time.Duration(seconds) * time.Second
		if d, _ := parseRetryAfter(strconv.Itoa(int(seconds)), now); d != want {
			t.Fatalf("%d seconds: %v", seconds, d)
		}
	})
}
