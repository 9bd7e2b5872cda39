package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Mailer sends an e-mail of plain text.
type Mailer interface {
	Send(ctx context.Context, to, subject, text string) error
}

const (
	resetPrefix  = "wp_"
	maxResets    = 100              // requests that wait for their e-mail
	resetTimeout = 30 * time.Second // of one e-mail
)

// resetsOfOne bounds the e-mails that strangers can have sent to one address.
var resetsOfOne = Limit{Every: 10 * time.Minute, Burst: 3}

type resetRequest struct {
	email  string
	origin Origin
}

// MailsResets reports whether a password can be reset by e-mail.
func (s *Service) MailsResets() bool { return s.mailer != nil }

// RequestReset has an e-mail with a password reset sent to the address, if it has an account. The
// answer comes before anything is looked up: neither it nor its time says whether the address is
// known. Who asks too often gets job.CodeTooMany; where no mail can be sent it is
// job.CodeForbidden.
func (s *Service) RequestReset(ctx context.Context, rawEmail string) error {
	if !s.MailsResets() {
		return &job.Error{
			Code:    job.CodeForbidden,
			Message: "this deployment sends no e-mail: ask an administrator for another password",
		}
	}
	email, err := checkEmail(rawEmail)
	if err != nil {
		return err
	}
	try, err := s.throttle.one(ctx, "reset", OriginOf(ctx).network(), s.cfg.Limits.Register)
	if err != nil {
		return err
	}
	select {
	case s.resets <- resetRequest{email, OriginOf(ctx)}:
		return nil
	default:
		try.undo(ctx)
		return job.Unavailable("too many password resets wait to be sent", nil)
	}
}

// sendResets sends what was requested until ctx ends. What waits then is lost, and can be requested
// again.
func (s *Service) sendResets(ctx context.Context) {
	for {
		select {
		case r := <-s.resets:
			if err := s.sendReset(ctx, r); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "password reset not sent", "request_id", r.origin.RequestID, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// sendReset does nothing for an address without an enabled account, nor for one that was sent
// enough lately.
func (s *Service) sendReset(ctx context.Context, r resetRequest) error {
	ctx, cancel := context.WithTimeout(WithOrigin(ctx, &r.origin), resetTimeout)
	defer cancel()
	u, err := s.ledger.UserByEmail(ctx, r.email)
	if isNotFound(err) || err == nil && !u.DisabledAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := s.throttle.one(ctx, "reset of", r.email, resetsOfOne); err != nil {
		return fmt.Errorf("too many for one address: %w", err)
	}
	token, now := resetPrefix+newSecret(), s.stamp()
	err = s.ledger.CreateReset(ctx, s.request(ctx, nil, "", ResetRequested, u.ID.String(), nil),
		account.PasswordReset{UserID: u.ID, TokenHash: hashOf(token), CreatedAt: now, ExpiresAt: now.Add(ResetTTL)})
	if err != nil {
		return err
	}
	return s.mailer.Send(ctx, u.Email, "Reset your Waybill password", s.resetText(token))
}

func (s *Service) resetText(token string) string {
	var b strings.Builder
	b.WriteString("A reset of the password of your Waybill account was requested, probably by you.\n\n")
	if s.cfg.PublicURL != "" {
		fmt.Fprintf(
			&b,
			"Choose another one here:\n\n%s/password-reset?token=%s\n\n",
			strings.TrimRight(s.cfg.PublicURL, "/"),
			token,
		)
	}
	fmt.Fprintf(&b, "The token for POST /v1/auth/password-reset/confirm:\n\n%s\n\n", token)
	fmt.Fprintf(
		&b,
		"It is good once, within %d minutes. If it was not you, nothing has to be done: your password is as it was.\n",
		int(ResetTTL.Minutes()),
	)
	return b.String()
}

// ConfirmReset replaces a password by means of the token in the e-mail, once. It ends every
// sign-in; API keys stay.
func (s *Service) ConfirmReset(ctx context.Context, token, password string) error {
	secret, ok := strings.CutPrefix(token, resetPrefix)
	if !ok || !isSecret(secret) {
		return badReset()
	}
	u, err := s.ledger.ResetUser(ctx, hashOf(token), s.stamp())
	if isNotFound(err) {
		return badReset()
	}
	if err != nil {
		return err
	}
	if err := checkNewPassword("/new_password", password, u.Email); err != nil {
		return err
	}
	same, _, err := s.hasher.verify(ctx, password, u.PasswordHash)
	switch {
	case err != nil:
		return err
	case same:
		return job.Invalid("/new_password", "must not be the password of before")
	}
	return s.resetPassword(ctx, u, token, password)
}

func (s *Service) resetPassword(ctx context.Context, u *account.User, token, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	r := s.request(ctx, nil, "", PasswordReset, u.ID.String(), nil)
	ended, err := s.ledger.ResetPassword(ctx, r, hashOf(token), s.stamp(),
		account.PasswordChange{UserID: u.ID, NewHash: hash, ValidAfter: s.cut()})
	s.forget(ctx, u.ID, ended)
	if errors.Is(err, job.ErrNotFound) { // spent by another request, or expired meanwhile
		return badReset()
	}
	return err
}

func badReset() error {
	return job.Invalid("/token", "is wrong, was used, or has expired: request another one")
}
