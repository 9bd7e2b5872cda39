package account

import (
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Change is what shall be different about a user; nil fields stay as they are.
type Change struct {
	Name     *string
	Role     *Role
	Disabled *bool
}

// AuditFilter picks entries of the audit log for a list, newest first. Zero fields don't filter.
type AuditFilter struct {
	ActorID job.ID
	Actor   string // the e-mail at that time
	Action  string
	Since   time.Time
	Before  job.ID // the last id of the page before
	Limit   int    // 1 to 200
}
