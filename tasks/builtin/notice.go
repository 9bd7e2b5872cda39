package builtin

import (
	"context"
	"log/slog"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// NoticeMailer sends e-mails that are no jobs, such as password resets: what they hold must not
// stand in the ledger.
type NoticeMailer struct{ mailer *mailer }

// NewNoticeMailer uses the mail server of email.send.
func NewNoticeMailer(cfg SMTPConfig, log *slog.Logger) (*NoticeMailer, error) {
	m, err := newMailer(cfg, log)
	if err != nil {
		return nil, err
	}
	return &NoticeMailer{m}, nil
}

// Send hands one message of plain text over, once.
func (n *NoticeMailer) Send(ctx context.Context, to, subject, text string) error {
	_, err := n.mailer.send(ctx, tasks.ID(job.NewID()), emailPayload{To: []string{to}, Subject: subject, Text: text})
	return err
}
