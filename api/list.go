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

// readPage reads limit and cursor, and lets filters be there too. list is the list's name, for its cursors.
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

// listed is the page that answers p. A full one may be the last all the same: then the next is empty.
func listed[T, B any](p pageRequest, items []T, body func(T) B, id func(T) job.ID) listBody[B] {
	l := listBody[B]{Data: make([]B, len(items))}
	for i, item := range items {
		l.Data[i] = body(item)
	}
	if len(items) == p.limit {
		next := cursorAfter(id(items[len(items)-1]), p.mark)
		l.NextCursor = &next
	}
	return l
}
