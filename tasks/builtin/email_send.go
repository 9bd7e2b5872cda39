package builtin

import (
	"context"
	"fmt"
	"strings"

	"github.com/waybill/waybill/tasks"
)

const maxRecipients = 50 // to, cc and bcc together

type emailPayload struct {
	To      []string `json:"to" jsonschema:"minItems=1,maxItems=50,minLength=3,maxLength=320,example=ann@example.com" jsonschema_description:"Recipients: ann@example.com or Ann <ann@example.com>. At most 50 with cc and bcc."`
	CC      []string `json:"cc,omitempty" jsonschema:"maxItems=50,minLength=3,maxLength=320" jsonschema_description:"Recipients of a copy."`
	BCC     []string `json:"bcc,omitempty" jsonschema:"maxItems=50,minLength=3,maxLength=320" jsonschema_description:"Recipients of a copy whom the others don't see."`
	Subject string   `json:"subject" jsonschema:"minLength=1,maxLength=500" jsonschema_description:"The subject, one line."`
	Text    string   `json:"text,omitempty" jsonschema_description:"The body as plain text. This, html or both are needed."`
	HTML    string   `json:"html,omitempty" jsonschema_description:"The body as HTML."`
	ReplyTo string   `json:"reply_to,omitempty" jsonschema:"minLength=3,maxLength=320" jsonschema_description:"Where answers go; left out: to the sender."`
}

// emailResult says what was handed over: MessageID is made from the job's id, Response is the
// server's last word.
type emailResult struct {
	MessageID string `json:"message_id"`
	Response  string `json:"response"`
}

func emailSend(m *mailer) tasks.Type {
	return tasks.Definition[emailPayload, *emailResult]{
		Name: "email.send",
		Description: "Sends one e-mail through the deployment's SMTP server. The Message-ID is made from the job's " +
			"id, the same in " +
			"every attempt.",
		Private: true, // e-mails carry sign-in links
		Example: emailPayload{
			To:      []string{"Ann <ann@example.com>"},
			Subject: "Your order 1042",
			Text:    "It is on its way.",
		},
		Check: checkEmail,
	}.Handle(func(ctx context.Context, j *tasks.Job[emailPayload]) (*emailResult, error) {
		return m.send(ctx, j.ID, j.Payload)
	})
}

func checkEmail(p emailPayload) []tasks.FieldError {
	var fields []tasks.FieldError
	add := func(pointer, detail string) {
		fields = append(fields, tasks.FieldError{Pointer: pointer, Detail: detail})
	}
	for field, list := range map[string][]string{"/to": p.To, "/cc": p.CC, "/bcc": p.BCC} {
		for i, address := range list {
			if _, err := mailAddress(address); err != nil {
				add(fmt.Sprintf("%s/%d", field, i), err.Error())
			}
		}
	}
	if len(p.To)+len(p.CC)+len(p.BCC) > maxRecipients {
		add("/to", fmt.Sprintf("must be at most %d recipients, with cc and bcc", maxRecipients))
	}
	if _, err := mailAddress(p.ReplyTo); p.ReplyTo != "" && err != nil {
		add("/reply_to", err.Error())
	}
	if strings.ContainsFunc(p.Subject, isControl) {
		add("/subject", "must be one line without control characters")
	}
	if p.Text == "" && p.HTML == "" {
		add("/text", "this, html or both are required")
	}
	return fields
}
