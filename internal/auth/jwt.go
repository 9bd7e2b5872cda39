package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const (
	audience  = "waybill"
	tokenType = "at+jwt" // RFC 9068: nothing else that is signed with the same key passes for an access token
	maxToken  = 4 << 10  // bytes; ours have about 500
	minKey    = 32       // bytes: RFC 7518, section 3.2
	// skew is how far the times of two API processes may lie apart. Both take the ledger's, so that
	// their own clocks do not matter.
	skew = 30 * time.Second
)

// SigningKey is a secret for HS256 and the name by which tokens refer to it. It never prints its
// secret.
type SigningKey struct {
	ID     string
	Secret []byte
}

func (k SigningKey) String() string       { return k.ID + ":[hidden]" }
func (k SigningKey) GoString() string     { return k.String() }
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// signer makes access tokens and reads them.
type signer struct {
	current  SigningKey
	known    map[string][]byte
	issuer   string
	now      func() time.Time
	parser   *jwt.Parser
	verified *cache[digest, *claims] // a token that is used often costs one SHA-256
}

func newSigner(keys []SigningKey, issuer string, now, pace func() time.Time) (*signer, error) {
	if len(keys) == 0 {
		return nil, errors.New("no signing key")
	}
	if issuer == "" {
		issuer = "waybill"
	}
	s := &signer{current: keys[0], known: map[string][]byte{}, issuer: issuer, now: now,
		verified: newCache[digest, *claims](maxCached, pace)}
	kid := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	for i, k := range keys {
		if !kid.MatchString(k.ID) || len(k.Secret) < minKey || s.known[k.ID] != nil {
			return nil, fmt.Errorf(
				"signing key %d needs an id of its own (1 to 64 of A-Z a-z 0-9 _ -) and %d bytes",
				i+1,
				minKey,
			)
		}
		s.known[k.ID] = k.Secret
	}
	s.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(
			issuer,
		),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(),
		jwt.WithTimeFunc(now),
	)
	return s, nil
}

// issue makes an access token of a sign-in. It is good for as long as the sign-in is open, and
// AccessTTL at most.
func (s *signer) issue(u *account.User, family job.ID) (string, error) {
	now := s.now()
	t := jwt.NewWithClaims(
		jwt.SigningMethodHS256,
		&claims{Issuer: s.issuer, Audience: audience, Subject: u.ID, Role: u.Role,
			Family: family, ID: job.NewID(), IssuedAt: instantOf(now), NotBefore: instantOf(now.Add(-skew)),
			Expires: instantOf(now.Add(AccessTTL))},
	)
	t.Header["typ"], t.Header["kid"] = tokenType, s.current.ID
	signed, err := t.SignedString(s.current.Secret)
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return signed, nil
}

// verify answers what a token says, if we said it and it holds at this moment. Its errors are for
// tests, not for callers.
func (s *signer) verify(token string) (*claims, error) {
	if len(token) > maxToken {
		return nil, errors.New("not a token of ours")
	}
	sum := digestOf(token)
	if c, ok := s.verified.get(sum); ok {
		return c, nil
	}
	if strings.Count(token, ".") != 2 || !isToken68(token) {
		return nil, errors.New("not a token of ours")
	}
	c := new(claims)
	if _, err := s.parser.ParseWithClaims(token, c, s.keyFor); err != nil {
		return nil, fmt.Errorf("verify access token: %w", err)
	}
	if c.Subject.IsZero() || c.Family.IsZero() || c.IssuedAt <= 0 || c.IssuedAt.time().After(s.now().Add(skew)) {
		return nil, errors.New("verify access token: it lacks a subject or a sign-in, or was issued later than now")
	}
	s.verified.put(sum, c, c.Expires.time().Sub(s.now()))
	return c, nil
}

// keyFor finds the key that a header names, by its exact id. A header has alg, typ and kid and
// nothing else: no jku, jwk or x5u that brings a key along, and no crit that asks for rules which
// we don't know.
func (s *signer) keyFor(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	secret, ok := s.known[kid]
	if !ok || t.Header["typ"] != tokenType || len(t.Header) != 3 {
		return nil, errors.New("header not ours")
	}
	return secret, nil
}
