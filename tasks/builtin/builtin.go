// Package builtin has the task types that come with Waybill: debug.*, http.request, email.send and
// command.run.
package builtin

import (
	"errors"
	"log/slog"

	"github.com/waybill/waybill/tasks"
)

// Config is what the built-in task types need to know of the deployment. The API and the workers
// must be given the same.
type Config struct {
	HTTP    HTTPConfig
	SMTP    SMTPConfig
	Command CommandConfig
}

// Validate names every mistake at once.
func (c Config) Validate() error {
	return errors.Join(c.HTTP.Validate(), c.SMTP.Validate(), c.Command.Validate())
}

// Types are debug.* and http.request, and email.send and command.run if they are configured.
func Types(cfg Config, log *slog.Logger) ([]tasks.Type, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	types := []tasks.Type{debugEcho(), debugSleep(), debugFail(), httpRequest(cfg.HTTP)}
	if cfg.SMTP.enabled() {
		m, err := newMailer(cfg.SMTP, log)
		if err != nil {
			return nil, err
		}
		types = append(types, emailSend(m))
	} else {
		log.Info("task type is not configured", "type", "email.send")
	}
	if cfg.Command.enabled() {
		types = append(types, commandRun(cfg.Command))
	} else {
		log.Info("task type is not configured", "type", "command.run")
	}
	return types, nil
}
