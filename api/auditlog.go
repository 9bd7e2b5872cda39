package api

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// auditReader reads the audit log, newest first.
type auditReader interface {
	AuditEntries(ctx context.Context, f account.AuditFilter) ([]*account.AuditEntry, error)
}

type auditHandler struct{ log auditReader }

func (h *auditHandler) routes() []route {
	return []route{
		{Method: "GET", Path: "/v1/audit", Role: account.RoleAdmin, Scope: account.ScopeAdmin, Handler: h.list},
		{Method: "GET", Path: "/v1/audit/export", Role: account.RoleAdmin, Scope: account.ScopeAdmin, Raw: h.export},
	}
}

type auditBody struct {
	ID        job.ID            `json:"id"`
	At        time.Time         `json:"at"`
	ActorID   *job.ID           `json:"actor_id"`
	Actor     string            `json:"actor"`
	KeyID     *job.ID           `json:"key_id"`
	Action    string            `json:"action"`
	Target    string            `json:"target"`
	IP        string            `json:"ip"`
	UserAgent string            `json:"user_agent"`
	RequestID string            `json:"request_id"`
	Detail    map[string]string `json:"detail"`
}

func newAuditBody(e *account.AuditEntry) auditBody {
	detail := e.Detail
	if detail == nil {
		detail = map[string]string{}
	}
	return auditBody{
		ID:        e.ID,
		At:        e.At,
		ActorID:   idOrNull(e.ActorID),
		Actor:     e.Actor,
		KeyID:     idOrNull(e.KeyID),
		Action:    e.Action,
		Target:    e.Target,
		IP:        e.IP,
		UserAgent: e.UserAgent,
		RequestID: e.RequestID,
		Detail:    detail,
	}
}

func idOrNull(id job.ID) *job.ID {
	if id.IsZero() {
		return nil
	}
	return &id
}

func (h *auditHandler) list(c *gin.Context) (any, error) {
	p, err := readPage(c, "audit", auditParameters...)
	if err != nil {
		return nil, err
	}
	f, err := auditFilter(p.query)
	if err != nil {
		return nil, err
	}
	f.Before, f.Limit = p.before, p.ask()
	entries, err := h.log.AuditEntries(c.Request.Context(), f)
	if err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	return listed(p, entries, newAuditBody, func(e *account.AuditEntry) job.ID { return e.ID }), nil
}

// auditParameters filter the log, in a list and in an export.
var auditParameters = []string{"actor", "action", "target", "ip", "since", "until"}

var actionName = regexp.MustCompile(`^[a-z_]{1,31}\.[a-z_]{1,31}$`)

// auditFilter refuses values that no entry can have, so that a misspelt filter is not taken for an
// empty log.
func auditFilter(q url.Values) (f account.AuditFilter, err error) {
	if v := q.Get("actor"); v != "" {
		if f.ActorID, err = job.ParseID(v); err != nil {
			f.Actor = strings.ToLower(v)
			if !strings.Contains(v, "@") {
				return f, badParameter("actor", "must be an id or an e-mail")
			}
		}
	}
	if f.Action = q.Get("action"); f.Action != "" && !actionName.MatchString(f.Action) {
		return f, badParameter("action", "must be a noun, a point and a verb, such as user.login")
	}
	f.Target = q.Get("target")
	if v := q.Get("ip"); v != "" {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return f, badParameter("ip", "must be an address")
		}
		f.IP = ip.Unmap().String()
	}
	if f.Since, err = instantParameter(q, "since"); err != nil {
		return f, err
	}
	f.Until, err = instantParameter(q, "until")
	return f, err
}
