package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const maxUserAgent = 255 // bytes kept of what a client calls itself

// deed is an entry for the audit log: what the caller did to target, and where the request came from.
func deed(c *gin.Context, at time.Time, action, target string) account.AuditEntry {
	p := caller(c)
	return account.AuditEntry{
		ID: job.NewID(), At: at, ActorID: p.UserID, Actor: p.Email, KeyID: p.KeyID, Action: action, Target: target,
		IP: c.ClientIP(), UserAgent: job.CleanText(c.Request.UserAgent(), maxUserAgent), RequestID: requestID(c),
	}
}
