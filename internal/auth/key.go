package auth

import (
	"context"
	"slices"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// keyState is what every request with an API key needs to know of it.
type keyState struct {
	UserID     job.ID
	SecretHash []byte
	Scopes     []account.Scope
	ExpiresAt  time.Time
}

func (k *keyState) expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

func (s *Service) loadKey(ctx context.Context, id job.ID) (*keyState, error) {
	k, err := s.ledger.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	return &keyState{UserID: k.UserID, SecretHash: k.SecretHash, Scopes: k.Scopes, ExpiresAt: k.ExpiresAt}, nil
}

// NewKey is a request for an API key.
type NewKey struct {
	Name      string
	Scopes    []account.Scope // empty: jobs:read and jobs:write
	ExpiresAt time.Time       // zero: never
}

// CreateKey makes an API key for the caller and answers it with its text, which is shown this once
// and not stored.
func (s *Service) CreateKey(ctx context.Context, caller *account.Principal, n NewKey) (*account.Key, string, error) {
	if err := n.check(s.now()); err != nil {
		return nil, "", err
	}
	id := job.NewID()
	text, secret := newKey(id)
	k := &account.Key{ID: id, UserID: caller.UserID, Name: n.Name, Scopes: n.Scopes, SecretHash: hashOf(secret),
		CreatedAt: s.stamp(), ExpiresAt: n.ExpiresAt}
	r := s.request(ctx, caller, account.RoleUser, KeyCreated, id.String(), map[string]string{"name": k.Name})
	if err := s.ledger.CreateKey(ctx, r, k, MaxKeys); err != nil {
		return nil, "", err
	}
	return k, text, nil
}

// check names every mistake at once, and fills in what was left out.
func (n *NewKey) check(now time.Time) error {
	var m fieldErrors
	name, err := checkLabel("/name", n.Name, 1)
	n.Name = name
	m.add(err)
	if len(n.Scopes) == 0 {
		n.Scopes = []account.Scope{account.ScopeJobsRead, account.ScopeJobsWrite}
	}
	for _, scope := range n.Scopes {
		if !slices.Contains(account.Scopes, scope) {
			m.add(job.Invalid("/scopes", "knows only jobs:read, jobs:write, queues:read, queues:write and admin"))
			break
		}
	}
	n.Scopes = slices.Clone(n.Scopes)
	slices.Sort(n.Scopes)
	n.Scopes = slices.Compact(n.Scopes)
	if !n.ExpiresAt.IsZero() && (!n.ExpiresAt.After(now) || n.ExpiresAt.After(now.Add(MaxKeyTTL))) {
		m.add(job.Invalid("/expires_at", "must lie ahead, within 5 years"))
	}
	n.ExpiresAt = n.ExpiresAt.UTC().Truncate(time.Microsecond)
	return m.err()
}

// Keys lists the API keys of a user, newest first.
func (s *Service) Keys(ctx context.Context, userID, before job.ID, limit int) ([]*account.Key, error) {
	return s.ledger.Keys(ctx, userID, before, limit)
}

// RevokeKey ends an API key of a user, who is the caller or, for an administrator, any user: in
// this process at once, in the others within seconds.
func (s *Service) RevokeKey(ctx context.Context, caller *account.Principal, userID, id job.ID) error {
	r := s.request(ctx, caller, leastFor(caller, userID), KeyRevoked, id.String(), ofUser(caller, userID))
	err := s.ledger.DeleteKey(ctx, r, userID, id)
	if isNotFound(err) {
		return err
	}
	s.keys.changed(ctx, id) // after an error too: the row may be gone, and it costs one look-up
	return err
}

// leastFor is the role that a change of the user's account needs: for one's own any, for another's
// that of an administrator.
func leastFor(caller *account.Principal, userID job.ID) account.Role {
	if caller.UserID == userID {
		return account.RoleUser
	}
	return account.RoleAdmin
}

// ofUser says in the audit log whose the thing was, where it was not the caller's own.
func ofUser(caller *account.Principal, userID job.ID) map[string]string {
	if caller.UserID == userID {
		return nil
	}
	return map[string]string{"user_id": userID.String()}
}
