package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/store"
)

// EnsureAdmin makes an administrator with this e-mail where there is none, and an API key for him
// where key does not hold. It answers the key that does. For `waybill dev`.
func (a *App) EnsureAdmin(ctx context.Context, email, password, key string) (string, error) {
	if _, err := a.auth.Authenticate(ctx, []string{"Bearer " + key}); err == nil {
		return key, nil
	}
	u, err := a.store.UserByEmail(ctx, email)
	if errors.Is(err, job.ErrNotFound) {
		u, err = a.auth.CreateAdmin(ctx, email, password)
	}
	if err != nil {
		return "", err
	}
	caller := &account.Principal{UserID: u.ID, Email: u.Email, Role: u.Role}
	_, text, err := a.auth.CreateKey(ctx, caller, newDevKey())
	if err != nil {
		return "", fmt.Errorf("make an API key: %w", err)
	}
	return text, nil
}

func newDevKey() auth.NewKey {
	return auth.NewKey{Name: "waybill dev", Scopes: account.Scopes}
}

// CreateAdmin makes an administrator in a ledger, for the command line.
func CreateAdmin(ctx context.Context, s *store.Store, email, password string) (*account.User, error) {
	who, err := offlineAuth(s)
	if err != nil {
		return nil, err
	}
	return who.CreateAdmin(ctx, email, password)
}

// SetPassword gives an account another password and ends its sign-ins, for the command line.
func SetPassword(
	ctx context.Context,
	s *store.Store,
	email, password string,
	requireChange bool,
) (*account.User, error) {
	who, err := offlineAuth(s)
	if err != nil {
		return nil, err
	}
	return who.SetPassword(ctx, email, password, requireChange)
}

// offlineAuth changes accounts in a ledger without serving requests.
func offlineAuth(s *store.Store) (*auth.Service, error) {
	throwaway := make([]byte, config.MinKey) // signs nothing: no token is made here
	_, _ = rand.Read(throwaway)
	log := obs.Logger(os.Stderr, slog.LevelWarn, "text")
	return auth.New(
		auth.Config{Keys: []auth.SigningKey{{ID: "none", Secret: throwaway}}},
		auth.Deps{Ledger: s, Log: log, LedgerNow: s.Clock().Now},
	)
}

// OpenStore opens the ledger alone, for commands that need nothing else and change no jobs.
func OpenStore(ctx context.Context, cfg config.Config) (*store.Store, error) {
	return openStore(ctx, cfg, nil)
}

func openStore(ctx context.Context, cfg config.Config, o store.Observer) (*store.Store, error) {
	s, err := store.Open(
		ctx,
		store.Config{
			URL:      cfg.DatabaseURL.Reveal(),
			MaxConns: 4,
			Log:      obs.Logger(os.Stderr, slog.LevelWarn, "text"),
			Observer: o,
		},
	)
	if err != nil {
		return nil, plainly(err)
	}
	if err := plainly(s.CheckSessions(ctx)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if _, err := s.Now(ctx); err != nil {
		return nil, errors.Join(plainly(err), s.Close())
	}
	job.SetIDClock(s.Clock().Now)
	return s, nil
}
