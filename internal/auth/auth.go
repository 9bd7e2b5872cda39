// Package auth authenticates: passwords, access tokens, refresh tokens, API keys, browser sessions,
// roles.
//
// The ledger is its source. Redis has copies for speed and counts failed sign-ins; without it
// everything works the same, per process. Nothing that it stores, logs or returns in an error holds
// a secret.
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
	AccessTTL  = 15 * time.Minute    // of an access token
	RefreshTTL = 30 * 24 * time.Hour // of an unused refresh token; each rotation begins it again
	// Of a family of refresh tokens, however often they are rotated, where Config says nothing.
	SignInTTL   = 30 * 24 * time.Hour
	ResetTTL    = 30 * time.Minute // of a password reset
	SessionTTL  = 12 * time.Hour   // of a browser session, however busy
	SessionIdle = time.Hour        // after which an unused browser session ends
	MaxKeys     = 100              // API keys of one user
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
	// Open allows the registration of accounts without an administrator.
	Open bool
	// PasswordCost is what hashing a password costs; zero: what OWASP asks for.
	PasswordCost Cost
	// Limits say how many failures are taken; zero: DefaultLimits.
	Limits Limits
	// SignInTTL is the absolute life of a family of refresh tokens; zero: the constant of that
	// name.
	SignInTTL time.Duration
	// AuditRetention is how long entries of the audit log are kept; zero: for ever.
	AuditRetention time.Duration
	// PublicURL is where people reach the sign-in page, for e-mails; empty: not known.
	PublicURL string
}

// Deps is what the service calls. Redis may be nil: then what it would hold is held by this process
// alone. A client that is given should have ContextTimeoutEnabled, so that a slow Redis frees its
// connections as soon as we stop waiting.
type Deps struct {
	Ledger Ledger
	Redis  redis.UniversalClient
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now; how long things are kept here
	// LedgerNow is the ledger's time: what is written into the ledger or into tokens, and compared
	// with what other processes wrote there. nil: Now.
	LedgerNow func() time.Time
	// Mailer sends password resets. nil: no password can be reset by e-mail.
	Mailer Mailer
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
	users    *readThroughCache[userState]
	keys     *readThroughCache[keyState]
	families *readThroughCache[familyState]
	browsers *cache[digest, browser]
	usedKeys *lastUsedRecorder
	usedTabs *lastUsedRecorder
	mailer   Mailer
	resets   chan resetRequest
	failures *auditLimit // entries about failed sign-ins
	refusals *auditLimit // entries about refused requests
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
	if cfg.SignInTTL == 0 {
		cfg.SignInTTL = SignInTTL
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
	s := &Service{cfg: cfg, ledger: deps.Ledger, log: deps.Log, now: deps.LedgerNow, hasher: hasher, signer: signer,
		mailer: deps.Mailer, resets: make(chan resetRequest, maxResets), failures: newAuditLimit(deps.Now),
		refusals: newAuditLimit(deps.Now)}
	return s, s.build(deps)
}

// build makes the parts that stand on Redis.
func (s *Service) build(deps Deps) error {
	// Copies in Redis carry a MAC, so that write access to Redis does not give an administrator's
	// rights.
	macKey, err := hkdf.Key(sha256.New, s.cfg.Keys[0].Secret, nil, "waybill auth cache", sha256.Size)
	if err != nil {
		return fmt.Errorf("derive cache key: %w", err)
	}
	breaker := newRedisBreaker(deps.Redis, deps.Log, deps.Now)
	s.throttle = newThrottle(breaker, deps.Now)
	s.users = newReadThroughCache("user", macKey, breaker, deps.LedgerNow, deps.Now, s.loadUser)
	s.keys = newReadThroughCache("key", macKey, breaker, deps.LedgerNow, deps.Now, s.loadKey)
	s.families = newReadThroughCache("family", macKey, breaker, deps.LedgerNow, deps.Now, s.loadFamily)
	s.browsers = newCache[digest, browser](maxCached, deps.Now)
	s.usedKeys = newLastUsedRecorder(deps.LedgerNow, deps.Now, s.ledger.TouchKeys)
	s.usedTabs = newLastUsedRecorder(deps.LedgerNow, deps.Now, s.ledger.TouchSessions)
	return nil
}

// userState is what every request needs to know of a user.
type userState struct {
	Email      string
	Role       account.Role
	Disabled   bool
	ValidAfter time.Time

	PasswordChangeRequired bool
}

func stateOf(u *account.User) *userState {
	return &userState{Email: u.Email, Role: u.Role, Disabled: !u.DisabledAt.IsZero(), ValidAfter: u.ValidAfter,
		PasswordChangeRequired: u.PasswordChangeRequired}
}

func (s *Service) loadUser(ctx context.Context, id job.ID) (*userState, error) {
	u, err := s.ledger.User(ctx, id)
	if err != nil {
		return nil, err
	}
	return stateOf(u), nil
}

// unauthenticated is the error for every credential that is missing or not valid. It never says
// what was wrong.
func unauthenticated() error {
	return &job.Error{
		Code:    job.CodeUnauthenticated,
		Message: "the access token or API key is missing, wrong or expired",
	}
}

func isNotFound(err error) bool { return errors.Is(err, job.ErrNotFound) }
