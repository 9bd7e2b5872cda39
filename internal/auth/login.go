package auth

import (
	"context"
	"errors"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Tokens are what a sign-in answers.
type Tokens struct {
	Access    string
	Refresh   string
	ExpiresIn time.Duration // of Access
	// PasswordChangeRequired: until the password is changed, the access token opens nothing else.
	PasswordChangeRequired bool
}

// Login exchanges an e-mail and password for tokens. An unknown user, a wrong password and a
// disabled account get the same answer, after the same time. Who fails often gets job.CodeTooMany.
func (s *Service) Login(ctx context.Context, email, password string) (Tokens, error) {
	refresh, id := newRefresh(), job.NewID()
	u, err := s.signIn(ctx, email, password, func(u *account.User) error {
		now, o := s.stamp(), OriginOf(ctx)
		f := &account.Family{ID: id, UserID: u.ID, KeyHash: refresh.keyHash(), TokenHash: refresh.tokenHash(),
			CreatedAt: later(now, u.ValidAfter), ExpiresAt: now.Add(RefreshTTL), IP: o.IP, UserAgent: o.UserAgent}
		return s.ledger.CreateFamily(ctx, f, u.PasswordHash, s.signedIn(ctx, u, "password"))
	})
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(u, id, refresh)
}

func (s *Service) signedIn(ctx context.Context, u *account.User, by string) account.AuditEntry {
	return s.entry(ctx, principalOf(u), UserSignedIn, u.ID.String(), map[string]string{"by": by})
}

func (s *Service) tokens(u *account.User, family job.ID, refresh refreshToken) (Tokens, error) {
	access, err := s.signer.issue(u, family)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		Access:                 access,
		Refresh:                refresh.String(),
		ExpiresIn:              AccessTTL,
		PasswordChangeRequired: u.PasswordChangeRequired,
	}, nil
}

// later keeps what begins after a change of password from being taken for what began before it,
// when two clocks disagree.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// signIn checks an e-mail and password, and opens the sign-in. Whether there is such a user may not
// show: not in the answer, nor in its time. To compare a password takes long: open must answer
// job.CodeConflict where the account was changed meanwhile, and the password is compared with what
// stands there then.
func (s *Service) signIn(
	ctx context.Context,
	rawEmail, password string,
	open func(*account.User) error,
) (*account.User, error) {
	if err := checkPassword("/password", password); err != nil {
		return nil, err
	}
	email, valid := normalEmail(rawEmail)
	try, err := s.throttle.signIn(ctx, s.cfg.Limits, email, OriginOf(ctx).network())
	if err != nil {
		return nil, err
	}
	u, ok, err := (*account.User)(nil), false, errChanged
	for n := 0; n < maxChanges && isConflict(err); n++ {
		u, ok, err = s.compare(ctx, email, valid, password)
		if err == nil && ok {
			err = open(u)
		}
	}
	switch {
	case isConflict(err):
		err = job.Unavailable("the account is being changed: try again", err)
		fallthrough
	case err != nil: // undecided
		try.undo(ctx)
		return nil, err
	case !ok:
		s.recordFailure(ctx, u)
		return nil, &job.Error{Code: job.CodeUnauthenticated, Message: "the e-mail or the password is wrong"}
	}
	try.succeeded(ctx)
	return u, nil
}

// maxChanges is how often a password is compared again because the account was changed meanwhile.
const maxChanges = 3

var errChanged error = &job.Error{Code: job.CodeConflict, Message: "not compared yet"}

func isConflict(err error) bool { return errors.Is(err, job.ErrConflict) }

// compare answers the user, if there is one, and whether he may come in with that password.
func (s *Service) compare(ctx context.Context, email string, valid bool, password string) (*account.User, bool, error) {
	u, hash := (*account.User)(nil), ""
	if valid {
		found, err := s.ledger.UserByEmail(ctx, email)
		if err != nil && !isNotFound(err) {
			return nil, false, err
		}
		if found != nil {
			u, hash = found, found.PasswordHash
		}
	}
	ok, outdated, err := s.hasher.verify(ctx, password, hash)
	if err != nil {
		return nil, false, err
	}
	if outdated {
		s.rehash(ctx, u, password)
	}
	return u, ok && u.DisabledAt.IsZero(), nil
}

// rehash brings a hash to the cost of today. If it fails, the next sign-in tries again.
func (s *Service) rehash(ctx context.Context, u *account.User, password string) {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.ledger.Rehash(ctx, u.ID, u.PasswordHash, hash)
	}
	if err != nil {
		s.log.WarnContext(ctx, "password not rehashed", "user_id", u.ID, "err", err)
		return
	}
	u.PasswordHash = hash
}

// recordFailure names the account, if there is one. What was typed instead is not kept: it may be a
// password. Entries are bounded: who fails all the time does not fill the ledger.
func (s *Service) recordFailure(ctx context.Context, u *account.User) {
	e := by(nil, SignInFailed, "", map[string]string{"reason": "no such account"})
	if u != nil {
		e.Target, e.Detail["reason"] = u.ID.String(), "wrong password"
		if !u.DisabledAt.IsZero() {
			e.Detail["reason"] = "account disabled"
		}
	}
	s.recordBounded(ctx, s.failures, OriginOf(ctx).network(), e)
}
