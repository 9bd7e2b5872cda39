package api

import (
	"net/url"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

// FuzzCursor: whatever the text, it is refused, or it is exactly what this list gave for the id
// that is read from it. What the list gave is always read.
func FuzzCursor(f *testing.F) {
	mark := listMark(job.ID{1}, "jobs", url.Values{"state": {"pending"}})
	f.Add(cursorAfter(job.NewID(), mark))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := readCursor(url.Values{"cursor": {text}}, mark)
		if err == nil && text != "" && cursorAfter(id, mark) != text {
			t.Fatalf("%q is read as %s", text, id)
		}
		last := job.NewID()
		if got, err := readCursor(url.Values{"cursor": {cursorAfter(last, mark)}}, mark); err != nil || got != last {
			t.Fatalf("%s becomes %s: %v", last, got, err)
		}
	})
}

// FuzzQuery: whatever the query string, it is refused with 400 or 403, or gives a filter within the
// limits.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "limit=5&state=pending", "label.a=b&label.c=d",
		"created_after=2026-01-01T00:00:00%2B01:00", "owner=all", "a;b"} {
		f.Add(seed)
	}
	user := newFakeAuth().principals[alice]
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, "state", "type", "queue", "label.", "created_after", "owner", "limit", "cursor")
		if err != nil {
			return
		}
		got, err := jobFilter(q, user)
		if err != nil {
			if code := job.CodeOf(err); code != job.CodeMalformed && code != job.CodeForbidden {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if got.OwnerID != user.UserID || got.Limit < 1 || got.Limit > maxLimit || len(got.Labels) > job.MaxLabels {
			t.Fatalf("%q: %+v", raw, got)
		}
	})
}
