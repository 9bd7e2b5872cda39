package builtin

import (
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/webhook"
)

// WebhookSecrets are the secrets ("whsec_…") that sign the requests of one owner's jobs, the newest
// first: one for each of the deployment's, from which they are derived. None where the deployment
// has none.
func WebhookSecrets(cfg HTTPConfig, owner tasks.ID) ([]string, error) {
	keys, err := webhook.ParseSecrets(cfg.Secret)
	if err != nil {
		return nil, err
	}
	secrets := make([]string, len(keys))
	for i, key := range webhook.OwnerKeys(keys, owner.String()) {
		secrets[i] = key.Secret()
	}
	return secrets, nil
}
