package job

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestIDsRiseAndShareNoRandomBytes(t *testing.T) {
	t.Parallel()
	const each = 1000
	var mu sync.Mutex
	seen := map[[8]byte]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			last := NewID()
			for range each {
				id := NewID()
				if bytes.Compare(id[:], last[:]) <= 0 {
					t.Errorf("%s came after %s", id, last)
				}
				last = id
				mu.Lock()
				if seen[[8]byte(id[8:])] {
					t.Errorf("the random part of %s was used before", id)
				}
				seen[[8]byte(id[8:])] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
}

func TestAnIDHasOneSpelling(t *testing.T) {
	t.Parallel()
	for range 1000 {
		id := NewID()
		text := id.String()
		if back, err := ParseID(text); back != id || err != nil {
			t.Fatalf("%s came back as %s, %v", text, back, err)
		}
		appended, err := id.AppendText([]byte("id "))
		if string(appended) != "id "+text || err != nil {
			t.Fatalf("appended as %q, %v", appended, err)
		}
	}
	const good = "018f0000-0000-7000-8000-0123456789ab"
	for name, text := range map[string]string{
		"upper case": strings.ToUpper(good), "braces": "{" + good + "}",
		"no hyphens": strings.ReplaceAll(good, "-", ""), "short": good[1:],
		"a letter beyond f": strings.Replace(good, "ab", "ag", 1), "a sign": strings.Replace(good, "01", "+1", 1),
		"a byte beyond ASCII": strings.Replace(good, "ab", "\xe9b", 1),
		"version 4":           strings.Replace(good, "-7", "-4", 1),
		"another variant":     strings.Replace(good, "-8", "-c", 1),
		"the nil UUID":        "00000000-0000-0000-0000-000000000000", "empty": "",
	} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%s: %q was read as %s", name, text, id)
		}
	}
	if id, err := ParseID(good); err != nil || id.String() != good {
		t.Errorf("%s, %v", id, err)
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewID()
	}
}
