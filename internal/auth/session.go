package auth

import (
	"context"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// CreateSession signs a browser in and answers the token for its cookie. It fails as Login does.
func (s *Service) CreateSession(ctx context.Context, email, password string) (token string, err error) {
	token = newSessionToken()
	_, err = s.signIn(ctx, email, password, func(u *account.User) error {
		now, o := s.stamp(), OriginOf(ctx)
		b := &account.Session{
			ID:        job.NewID(),
			UserID:    u.ID,
			TokenHash: hashOf(token),
			CreatedAt: later(now, u.ValidAfter),
			SeenAt:    now,
			ExpiresAt: now.Add(SessionTTL),
			IP:        o.IP,
			UserAgent: o.UserAgent,
		}
		return s.ledger.CreateSession(ctx, b, u.PasswordHash, s.signedIn(ctx, u, "browser"))
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// SessionPrincipal says whose browser it is. A session ends SessionTTL after it began, SessionIdle
// after it was last used, and with its user's password: job.CodeUnauthenticated.
func (s *Service) SessionPrincipal(ctx context.Context, token string) (*account.Principal, error) {
	if !isSessionToken(token) {
		return nil, unauthenticated()
	}
	b, err := s.session(ctx, digestOf(token))
	if err != nil {
		return nil, err
	}
	now := s.now()
	if b == nil || !now.Before(b.ExpiresAt) || now.Sub(b.SeenAt) >= SessionIdle {
		return nil, unauthenticated()
	}
	p, err := s.userPrincipal(ctx, b.UserID, b.ID, b.CreatedAt)
	if err != nil {
		return nil, err
	}
	s.usedTabs.note(b.ID)
	return p, nil
}

// session answers nil where there is none.
func (s *Service) session(ctx context.Context, d digest) (*account.Session, error) {
	if known, ok := s.browsers.get(d); ok {
		return known.session, nil
	}
	b, err := s.ledger.Session(ctx, d[:])
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	s.browsers.update(d, localTTL, func(known browser) browser {
		if known.ended { // while we looked
			b = nil
			return known
		}
		return browser{session: b}
	})
	return b, nil
}

// browser is what this process remembers of a session.
type browser struct {
	session *account.Session // nil: there is none
	ended   bool             // here, a moment ago
}

// EndSession signs a browser out. To end what does not live is no mistake.
func (s *Service) EndSession(ctx context.Context, token string) error {
	if !isSessionToken(token) {
		return nil
	}
	d := digestOf(token)
	_, err := s.ledger.EndSession(ctx, d[:], func(b *account.Session) account.AuditEntry {
		return s.entry(
			ctx,
			&account.Principal{UserID: b.UserID},
			UserSignedOut,
			b.UserID.String(),
			map[string]string{"session": b.ID.String()},
		)
	})
	if err != nil && !isNotFound(err) {
		return err
	}
	s.browsers.put(d, browser{ended: true}, 2*loadTimeout)
	return nil
}

// idleSince is when a session must have been used to live at now. Uses are noted to the minute, and
// sessions that are in use are not purged for that.
func idleSince(now time.Time) time.Time { return now.Add(-SessionIdle - 2*noteEvery) }
