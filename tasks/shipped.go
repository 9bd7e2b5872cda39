package tasks

import (
	"errors"
	"log/slog"
)

// Config is what the shipped task types need to know of the deployment. The API and the workers must be given the same.
type Config struct {
	HTTP    HTTPConfig
	SMTP    SMTPConfig
	Command CommandConfig
}

// Validate names every mistake at once.
func (c Config) Validate() error {
	return errors.Join(c.HTTP.Validate(), c.SMTP.Validate(), c.Command.Validate())
}

// Shipped is the catalogue of the types that come with Waybill: debug.* and http.request always, email.send and command.run
// where they are configured. A type of your own is one file and one line here.
func Shipped(cfg Config, log *slog.Logger) (*Catalogue, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := NewCatalogue()
	errs := []error{
		Register(c, debugEcho()),
		Register(c, debugSleep()),
		Register(c, debugFail()),
		Register(c, httpRequest(cfg.HTTP)),
	}
	if cfg.SMTP.enabled() {
		m, err := newMailer(cfg.SMTP, log)
		errs = append(errs, err, Register(c, emailSend(m)))
	} else {
		log.Info("task type is not configured", "type", "email.send")
	}
	if cfg.Command.enabled() {
		errs = append(errs, Register(c, commandRun(cfg.Command)))
	} else {
		log.Info("task type is not configured", "type", "command.run")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}
