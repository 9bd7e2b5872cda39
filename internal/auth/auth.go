// Package auth says who is calling: passwords, access tokens, refresh tokens, API keys, browser sessions, roles.
//
// What it knows comes from the ledger. Redis only shortens the way there and counts failed sign-ins; without it everything
// works the same, per process. Nothing that it stores, logs or returns in an error holds a secret.
package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// How long things hold.
const (
	AccessTTL   = 15 * time.Minute    // of an access token
	RefreshTTL  = 30 * 24 * time.Hour // of a refresh token; each rotation starts it anew
	SessionTTL  = 12 * time.Hour      // of a browser session, however busy
	SessionIdle = time.Hour           // after which a browser session that nobody used ends
	MaxKeys     = 100                 // API keys of one user
	MaxKeyTTL   = 5 * 365 * 24 * time.Hour

	localTTL  = 2 * time.Second // how long this process trusts what it read of a user, key or session
	remoteTTL = 5 * time.Second // how long a copy in Redis is trusted
)

// Config is what a deployment decides.
type Config struct {
	// Keys sign access tokens (HS256): the first signs, all verify. At least one is required.
	Keys []SigningKey
	// Issuer is the iss of access tokens: the deployment's public URL, or "waybill" where empty.
	Issuer string
	// Open lets anybody register an account.
	Open bool
	// PasswordCost is what hashing a password costs; zero: what OWASP asks for.
	PasswordCost Cost
	// Limits say how many failures are taken; zero: DefaultLimits.
	Limits Limits
}

// Deps is what the service calls. Redis may be nil: then what it would hold is held by this process alone. A client that is
// given should have ContextTimeoutEnabled, so that a slow Redis frees its connections as soon as we stop waiting.
type Deps struct {
	Ledger Ledger
	Redis  redis.UniversalClient
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now; how long things are kept here
	// LedgerNow is the ledger's time: what is written into the ledger or into tokens, and compared with what other processes wrote
	// there. nil: Now.
	LedgerNow func() time.Time
}

// Service is safe for concurrent use. Run must run beside it.
type Service struct {
	cfg      Config
	ledger   Ledger
	log      *slog.Logger
	now      func() time.Time
	hasher   *hasher
	signer   *signer
	throttle *throttle
	users    *tier[userState]
	keys     *tier[keyState]
	browsers *cache[digest, browser]
	usedKeys *uses
	usedTabs *uses
}

// New builds the service. It refuses to start without a signing key.
func New(cfg Config, deps Deps) (*Service, error) {
	if deps.Ledger == nil || deps.Log == nil {
		return nil, errors.New("build auth: ledger and log are required")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.LedgerNow == nil {
		deps.LedgerNow = deps.Now
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if err := cfg.Limits.validate(); err != nil {
		return nil, fmt.Errorf("build auth: %w", err)
	}
	signer, err := newSigner(cfg.Keys, cfg.Issuer, deps.LedgerNow, deps.Now)
	if err != nil {
		return nil, fmt.Errorf("build auth: %w", err)
	}
	hasher, err := newHasher(cfg.PasswordCost)
	if err != nil {
		return nil, fmt.Errorf("build auth: %w", err)
	}
	s := &Service{cfg: cfg, ledger: deps.Ledger, log: deps.Log, now: deps.LedgerNow, hasher: hasher, signer: signer}
	return s, s.build(deps)
}

// build makes the parts that stand on Redis.
func (s *Service) build(deps Deps) error {
	// Copies in Redis carry a MAC, so that whoever can write to Redis cannot make himself an administrator.
	macKey, err := hkdf.Key(sha256.New, s.cfg.Keys[0].Secret, nil, "waybill auth cache", sha256.Size)
	if err != nil {
		return fmt.Errorf("derive cache key: %w", err)
	}
	road := newRoad(deps.Redis, deps.Log, deps.Now)
	s.throttle = newThrottle(road, deps.Now)
	s.users = newTier("user", macKey, road, deps.LedgerNow, deps.Now, s.loadUser)
	s.keys = newTier("key", macKey, road, deps.LedgerNow, deps.Now, s.loadKey)
	s.browsers = newCache[digest, browser](maxCached, deps.Now)
	s.usedKeys = newUses(deps.LedgerNow, deps.Now, s.ledger.TouchKeys)
	s.usedTabs = newUses(deps.LedgerNow, deps.Now, s.ledger.TouchSessions)
	return nil
}

// userState is what every request needs to know of a user.
type userState struct {
	Email      string
	Role       account.Role
	Disabled   bool
	ValidAfter time.Time
}

func stateOf(u *account.User) *userState {
	return &userState{Email: u.Email, Role: u.Role, Disabled: !u.DisabledAt.IsZero(), ValidAfter: u.ValidAfter}
}

func (s *Service) loadUser(ctx context.Context, id job.ID) (*userState, error) {
	u, err := s.ledger.User(ctx, id)
	if err != nil {
		return nil, err
	}
	return stateOf(u), nil
}

// unauthenticated is the answer to everybody who does not prove who he is. It never says what was wrong with the proof.
func unauthenticated() error {
	return &job.Error{Code: job.CodeUnauthenticated, Message: "the access token or API key is missing, wrong or expired"}
}

func isNotFound(err error) bool { return errors.Is(err, job.ErrNotFound) }
