package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// newAuditEntry is an entry for the audit log: what the caller did to target, and where the request
// came from.
func newAuditEntry(c *gin.Context, at time.Time, action, target string) account.AuditEntry {
	v := requestInfoOf(c)
	p, from := caller(c), v.origin
	return account.AuditEntry{
		ID: job.NewID(), At: at, ActorID: p.UserID, Actor: p.Email, KeyID: p.KeyID, Action: action, Target: target,
		IP: from.IP, UserAgent: from.UserAgent, RequestID: from.RequestID,
	}
}
