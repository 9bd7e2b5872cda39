package process

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// However the text is cut into writes, clip keeps its first and its last half, counts the rest, and
// keeps a text that fits whole.
func TestClipKeepsBothEndsHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := 2 * rapid.IntRange(1, 20).Draw(t, "half")
		c := newClip(limit)
		var all strings.Builder
		for _, part := range rapid.SliceOf(rapid.StringMatching(`[a-z]{0,30}`)).Draw(t, "writes") {
			if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			all.WriteString(part)
		}
		want := all.String()
		if len(want) > limit {
			want = fmt.Sprintf(
				"%s\n… %d bytes left out …\n%s",
				want[:limit/2],
				len(want)-limit,
				want[len(want)-limit/2:],
			)
		}
		if c.String() != want {
			t.Fatalf("kept %q, want %q", c.String(), want)
		}
	})
}
