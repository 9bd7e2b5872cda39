package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/job"
)

const maxUserAgent = 255 // bytes kept of what a client calls itself

// origin hands down where the request comes from, for what auth counts and writes down itself.
func origin(c *gin.Context) {
	o := auth.Origin{IP: c.ClientIP(), UserAgent: job.CleanText(c.Request.UserAgent(), maxUserAgent), RequestID: requestID(c)}
	c.Request = c.Request.WithContext(auth.WithOrigin(c.Request.Context(), o))
}

// deed is an entry for the audit log: what the caller did to target, and where the request came from.
func deed(c *gin.Context, at time.Time, action, target string) account.AuditEntry {
	p, from := caller(c), auth.OriginOf(c.Request.Context())
	return account.AuditEntry{
		ID: job.NewID(), At: at, ActorID: p.UserID, Actor: p.Email, KeyID: p.KeyID, Action: action, Target: target,
		IP: from.IP, UserAgent: from.UserAgent, RequestID: from.RequestID,
	}
}
