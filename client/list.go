package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const pageSize = 200

// Filter picks jobs for a list. Zero fields do not filter.
type Filter struct {
	State        string
	Type         string
	Queue        string
	Labels       map[string]string // all must match
	CreatedAfter time.Time
	AllOwners    bool // jobs of every account, for viewers and above; else those of the caller
	PageSize     int  // jobs asked for in one request, 1 to 200; 0 is 200
}

func (f Filter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"state": f.State, "type": f.Type, "queue": f.Queue} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for key, value := range f.Labels {
		q.Set("label."+key, value)
	}
	if !f.CreatedAfter.IsZero() {
		q.Set("created_after", f.CreatedAfter.UTC().Format(time.RFC3339Nano))
	}
	if f.AllOwners {
		q.Set("owner", "all")
	}
	size := f.PageSize
	if size <= 0 || size > pageSize {
		size = pageSize
	}
	q.Set("limit", strconv.Itoa(size))
	return q
}

// List walks over the jobs that f picks, newest first, page by page. An error ends the walk:
//
//	for j, err := range c.List(ctx, client.Filter{State: client.StateArchived}) {
//		if err != nil {
//			return err
//		}
//		…
//	}
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[JobInfo, error] {
	return func(yield func(JobInfo, error) bool) {
		query := f.query()
		for {
			var page struct {
				Data       []JobInfo `json:"data"`
				NextCursor string    `json:"next_cursor"`
			}
			if _, err := c.call(ctx, request{method: http.MethodGet, path: "/v1/jobs", query: query},
				&page); err != nil {
				yield(JobInfo{}, err)
				return
			}
			for _, j := range page.Data {
				if !yield(j, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			query.Set("cursor", page.NextCursor)
		}
	}
}
