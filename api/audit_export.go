package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
)

const (
	exportPage = 1000             // entries that are read at once, and held in memory
	exportTime = 60 * time.Second // for a client to take one page
)

// export streams every entry that the filters let through, newest first, one JSON object a line. An
// export that cannot be finished ends with a broken connection, so that half a log is not taken for
// a whole one.
func (h *auditHandler) export(c *gin.Context) {
	f, err := h.exportFilter(c)
	if err != nil {
		refuse(c, err)
		return
	}
	entries, err := h.log.AuditEntries(c.Request.Context(), f)
	if err != nil {
		refuse(c, err)
		return
	}
	c.Header("Content-Type", "application/x-ndjson")
	c.Header("Content-Disposition", `attachment; filename="waybill-audit.ndjson"`)
	c.Status(http.StatusOK)
	if c.Request.Method == http.MethodHead {
		c.Writer.WriteHeaderNow()
		return
	}
	if err := h.stream(c, f, entries); err != nil {
		_ = c.Error(err)
		panic(http.ErrAbortHandler)
	}
}

func (h *auditHandler) exportFilter(c *gin.Context) (account.AuditFilter, error) {
	q, err := query(c, auditParameters...)
	if err != nil {
		return account.AuditFilter{}, err
	}
	f, err := auditFilter(q)
	f.Limit = exportPage
	return f, err
}

// stream writes the page that was read and those after it.
func (h *auditHandler) stream(c *gin.Context, f account.AuditFilter, entries []*account.AuditEntry) (err error) {
	control := http.NewResponseController(c.Writer)
	lines := json.NewEncoder(c.Writer)
	lines.SetEscapeHTML(false)
	for len(entries) > 0 {
		_ = control.SetWriteDeadline(time.Now().Add(exportTime)) // not there in tests without a connection
		for _, e := range entries {
			if err := lines.Encode(newAuditBody(e)); err != nil {
				return err
			}
		}
		c.Writer.Flush()
		if len(entries) < f.Limit {
			return nil
		}
		f.Before = entries[len(entries)-1].ID
		if entries, err = h.log.AuditEntries(c.Request.Context(), f); err != nil {
			return err
		}
	}
	return nil
}
