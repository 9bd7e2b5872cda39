package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/url"

	"github.com/waybill/waybill/internal/job"
)

// A cursor is the id of the last item of a page, and a mark of the list it belongs to: whose it is
// and what it filters. The mark finds mistakes, such as a cursor of another list. It is no secret
// and needs none: a forged cursor shows nothing that the same caller could not list anyway.

const (
	cursorVersion = 1
	markSize      = 12 // bytes: enough to find any accidental change
)

// listMark is the mark of the caller's list with these filters. The size of the page may change on
// the way.
func listMark(caller job.ID, list string, q url.Values) []byte {
	sum := sha256.New()
	sum.Write(caller[:])
	sum.Write([]byte(list + "\n"))
	filters := url.Values{}
	for name, values := range q {
		if name != "cursor" && name != "limit" {
			filters[name] = values
		}
	}
	sum.Write([]byte(filters.Encode())) // sorted by name
	return sum.Sum(nil)[:markSize]
}

// cursorAfter is the cursor for what comes after last.
func cursorAfter(last job.ID, mark []byte) string {
	b := append([]byte{cursorVersion}, last[:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, mark...))
}

// readCursor is the id within the cursor parameter; zero where there is none.
func readCursor(q url.Values, mark []byte) (job.ID, error) {
	text := q.Get("cursor")
	if text == "" {
		return job.ID{}, nil
	}
	var id job.ID
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 1+len(id)+markSize || b[0] != cursorVersion || !bytes.Equal(b[1+len(id):], mark) {
		return job.ID{}, badParameter("cursor", "is not one that this list gave to you")
	}
	copy(id[:], b[1:])
	return id, nil
}
