package api

import (
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// pageRequest is which page of a list is asked for.
type pageRequest struct {
	query  url.Values
	mark   []byte
	before job.ID // zero: the first page
	limit  int
}

// readPage reads limit and cursor, and lets filters be there too. list is the list's name, for its
// cursors.
func readPage(c *gin.Context, list string, filters ...string) (p pageRequest, err error) {
	if p.query, err = query(c, append(filters, "limit", "cursor")...); err != nil {
		return p, err
	}
	if p.limit, err = limitParameter(p.query); err != nil {
		return p, err
	}
	p.mark = listMark(caller(c).UserID, list, p.query)
	p.before, err = readCursor(p.query, p.mark)
	return p, err
}

// listBody is one page of a list.
type listBody[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

// ask is how many items to read for a page: one more than it shows tells whether there is another
// page.
func (p pageRequest) ask() int { return p.limit + 1 }

// cutPage is what a page of so many items shows of those that were read, one more than that at
// most, and whether there is another page.
func cutPage[T any](items []T, limit int) (shown []T, more bool) {
	return items[:min(limit, len(items))], len(items) > limit
}

// listed is the page that answers p, of items that were asked for with p.ask.
func listed[T, B any](p pageRequest, items []T, body func(T) B, id func(T) job.ID) listBody[B] {
	items, more := cutPage(items, p.limit)
	l := listBody[B]{Data: make([]B, len(items))}
	for i, item := range items {
		l.Data[i] = body(item)
	}
	if more {
		next := cursorAfter(id(items[len(items)-1]), p.mark)
		l.NextCursor = &next
	}
	return l
}
