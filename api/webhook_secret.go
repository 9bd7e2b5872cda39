package api

import (
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// webhookHandler shows users the secrets that sign what their jobs send.
type webhookHandler struct{ deps Deps }

func (h *webhookHandler) routes() []route {
	return []route{{Method: "GET", Path: "/v1/me/webhook-secret", Role: account.RoleUser, Handler: h.get}}
}

type webhookSecretBody struct {
	OwnerID string   `json:"owner_id"`
	Secrets []string `json:"secrets"`
}

// get shows the caller's own only, and to no API key: who holds a secret can send in its owner's
// name.
func (h *webhookHandler) get(c *gin.Context) (any, error) {
	if _, err := query(c); err != nil {
		return nil, err
	}
	owner := caller(c).UserID
	secrets, err := h.secrets(owner)
	if err != nil {
		return nil, fmt.Errorf("derive webhook secrets: %w", err)
	}
	if len(secrets) == 0 {
		return nil, &job.Error{
			Code:    job.CodeNotFound,
			Message: "this deployment signs no requests: it has no key for that",
		}
	}
	h.deps.Audit.Record(c.Request.Context(), newAuditEntry(c, h.deps.Now(), "webhook_secret.read", owner.String()))
	return webhookSecretBody{OwnerID: owner.String(), Secrets: secrets}, nil
}

func (h *webhookHandler) secrets(owner job.ID) ([]string, error) {
	if h.deps.WebhookSecrets == nil {
		return nil, nil
	}
	return h.deps.WebhookSecrets(owner)
}
