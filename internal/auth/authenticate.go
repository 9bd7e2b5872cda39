package auth

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// Authenticate returns the principal of a request from the values of all its Authorization headers.
// There must be one, of the scheme Bearer, with an access token or an API key. Everything else is
// job.CodeUnauthenticated; job.CodeUnavailable means that the ledger could not be asked. The
// principal belongs to the caller.
func (s *Service) Authenticate(ctx context.Context, authorization []string) (*account.Principal, error) {
	token, ok := bearer(authorization)
	switch {
	case !ok:
		return nil, unauthenticated()
	case strings.HasPrefix(token, keyPrefix):
		return s.keyPrincipal(ctx, token)
	default:
		return s.tokenPrincipal(ctx, token)
	}
}

// bearer takes the token out of the header. Schemes are the same in any case (RFC 9110, section
// 11.1), tokens are not.
func bearer(authorization []string) (string, bool) {
	if len(authorization) != 1 || len(authorization[0]) > maxToken+len("Bearer ") {
		return "", false
	}
	scheme, rest, _ := strings.Cut(authorization[0], " ")
	return strings.TrimLeft(rest, " "), strings.EqualFold(scheme, "Bearer")
}

// isToken68 takes what RFC 6750 lets be a token, but for the padding, which ours don't have.
func isToken68(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != ""
}

// tokenPrincipal takes an access token for as long as the sign-in that it was made from is open.
func (s *Service) tokenPrincipal(ctx context.Context, token string) (*account.Principal, error) {
	c, err := s.signer.verify(token)
	if err != nil {
		return nil, unauthenticated()
	}
	f, err := s.families.get(ctx, c.Family)
	if err != nil {
		return nil, err
	}
	if f == nil || f.UserID != c.Subject {
		return nil, unauthenticated()
	}
	return s.userPrincipal(ctx, c.Subject, c.Family, f.CreatedAt)
}

// userPrincipal is a user who proved who he is by a sign-in that began at since, and ends with his
// password.
func (s *Service) userPrincipal(ctx context.Context, id, signIn job.ID, since time.Time) (*account.Principal, error) {
	u, err := s.enabledUser(ctx, id)
	if err != nil {
		return nil, err
	}
	if since.Before(u.ValidAfter) {
		return nil, unauthenticated()
	}
	return &account.Principal{UserID: id, Email: u.Email, Role: u.Role, SignInID: signIn,
		PasswordChangeRequired: u.PasswordChangeRequired}, nil
}

func (s *Service) enabledUser(ctx context.Context, id job.ID) (*userState, error) {
	u, err := s.users.get(ctx, id)
	if err != nil {
		return nil, err
	}
	if u == nil || u.Disabled {
		return nil, unauthenticated()
	}
	return u, nil
}

func (s *Service) keyPrincipal(ctx context.Context, token string) (*account.Principal, error) {
	id, secret, ok := parseKey(token)
	if !ok {
		return nil, unauthenticated()
	}
	k, err := s.keys.get(ctx, id)
	if err != nil {
		return nil, err
	}
	sum := digestOf(secret)
	if k == nil || subtle.ConstantTimeCompare(sum[:], k.SecretHash) != 1 || k.expired(s.now()) {
		return nil, unauthenticated()
	}
	u, err := s.enabledUser(ctx, k.UserID) // a key outlives its owner's password
	if err != nil {
		return nil, err
	}
	s.usedKeys.note(id)
	return &account.Principal{
		UserID: k.UserID,
		Email:  u.Email,
		Role:   u.Role,
		KeyID:  id,
		Scopes: slices.Clone(k.Scopes),
	}, nil
}
