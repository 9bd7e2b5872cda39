package api

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

var (
	typeName  = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)
	queueName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
)

// list answers a page of the caller's jobs, newest first; with ?owner=all, to viewers, of all
// accounts' jobs.
func (h *jobHandler) list(c *gin.Context) (any, error) {
	q, err := query(c, "state", "type", "queue", "label.", "created_after", "owner", "limit", "cursor")
	if err != nil {
		return nil, err
	}
	p := caller(c)
	f, err := jobFilter(q, p)
	if err != nil {
		return nil, err
	}
	mark := listMark(p.UserID, "jobs", q)
	if f.Before, err = readCursor(q, mark); err != nil {
		return nil, err
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is another page
	jobs, err := h.jobs.Jobs(c.Request.Context(), f)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	jobs, more := cutPage(jobs, limit)
	page := jobPage{jobs: h.viewing.jobs(p, jobs)}
	if more {
		page.next = cursorAfter(jobs[limit-1].ID, mark)
	}
	return page, nil
}

// jobFilter reads what to list. It refuses values that no job can have, so that a misspelt filter
// is not taken for an empty list.
func jobFilter(q url.Values, p *account.Principal) (f job.Filter, err error) {
	if f.OwnerID, err = ownerParameter(q, p); err != nil {
		return f, err
	}
	if v := q.Get("state"); v != "" {
		if f.State, err = job.ParseState(v); err != nil {
			return f, badParameter("state", fmt.Sprintf("must be one of %q", job.States))
		}
	}
	if f.Type = q.Get("type"); f.Type != "" && (len(f.Type) > maxTypeName || !typeName.MatchString(f.Type)) {
		return f, badParameter("type", "cannot be the name of a task type")
	}
	if f.Queue = q.Get("queue"); f.Queue != "" && (len(f.Queue) > job.MaxQueueName || !queueName.MatchString(f.Queue)) {
		return f, badParameter("queue", "cannot be the name of a queue")
	}
	if v := q.Get("created_after"); v != "" {
		if f.CreatedAfter, err = parseInstant(v); err != nil || f.CreatedAfter.Before(earliest) {
			return f, badParameter("created_after", notAnInstant)
		}
	}
	if f.Labels, err = labelFilter(q); err != nil {
		return f, err
	}
	f.Limit, err = limitParameter(q)
	return f, err
}

// ownerParameter is the account whose things are listed; zero: all accounts. Ids of users are known
// to viewers only.
func ownerParameter(q url.Values, p *account.Principal) (job.ID, error) {
	v, reads := q.Get("owner"), p.Role.Includes(account.RoleViewer)
	id, err := job.ParseID(v)
	switch {
	case v == "":
		return p.UserID, nil
	case v == "all" && reads:
		return job.ID{}, nil
	case v == "all":
		return job.ID{}, forbidden("to list what belongs to others needs the role viewer")
	case err == nil && reads:
		return id, nil
	}
	return job.ID{}, badParameter(
		"owner",
		`must be "all" (or, for viewers, the id of a user), or be left out for what is yours`,
	)
}

func labelFilter(q url.Values) (map[string]string, error) {
	labels := map[string]string{}
	for name := range q {
		key, ok := strings.CutPrefix(name, "label.")
		if !ok {
			continue
		}
		if len(key) > job.MaxLabelKey || !labelKey.MatchString(key) || len(q.Get(name)) > job.MaxLabelValue {
			return nil, badParameter(name, "cannot be a label of a job")
		}
		labels[key] = q.Get(name)
	}
	if len(labels) > job.MaxLabels {
		return nil, badParameter("label", "is given more often than a job has labels")
	}
	if len(labels) == 0 {
		return nil, nil
	}
	return labels, nil
}
