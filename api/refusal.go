package api

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// recordRefusal writes down that a caller was refused what would have changed something. The
// auditor bounds how many such entries one caller can cause.
func (a *API) recordRefusal(c *gin.Context, v *requestInfo) {
	m := c.Request.Method
	if v.caller == nil || c.Writer.Status() != http.StatusForbidden || m == http.MethodGet || m == http.MethodHead {
		return
	}
	e := newAuditEntry(c, a.deps.LedgerNow(), "", m+" "+c.FullPath())
	e.Detail = map[string]string{
		"path":   job.CleanText(c.Request.URL.Path, maxLoggedPath),
		"status": strconv.Itoa(c.Writer.Status()),
		"role":   string(v.caller.Role),
	}
	if err := c.Errors.Last(); err != nil {
		e.Detail["reason"] = known(err.Err).Message
	}
	a.deps.Audit.RecordRefused(c.Request.Context(), e)
}
