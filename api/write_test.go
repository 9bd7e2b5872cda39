package api

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDurationsAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", time.Minute: "1m", time.Hour: "1h",
		90 * time.Minute:        "1h30m",
		time.Hour + time.Second: "1h0m1s", 36 * time.Hour: "36h", 1500 * time.Millisecond: "1.5s", time.Hour +
			time.Millisecond: "1h0m0.001s", -time.Minute: "-1m0s",
	} {
		if got := duration(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64().Draw(t, "d"))
		if back, err := time.ParseDuration(duration(d)); back != d || err != nil {
			t.Fatalf("%d is written %q, which is read as %d, %v", d, duration(d), back, err)
		}
	})
}

func TestStringsAreWrittenAsJSONReadsThem(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": `""`, "plain <&>": `"plain <&>"`, "a\"b\\c\n\x00\x1f\x7f": `"a\"b\\c\n\u0000\u001f\u007f"`,
		"é😀\u2028\uFFFD": "\"é😀\u2028\uFFFD\"",
		"\xff":           "\"\uFFFD\"", "a\xe2\x28b\xf0\x9f": "\"a\uFFFD(b\uFFFD\uFFFD\"",
	} {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || !utf8.Valid(got) {
			t.Fatalf("%q is written %q: %v", s, got, err)
		}
		if want := string([]rune(s)); back != want {
			t.Fatalf("%q is written %q, which is read as %q", s, got, back)
		}
	})
}
