// Package dev is `waybill dev`: everything in one process, for trying Waybill out on one's own
// machine. The ledger is a SQLite file, Redis a private child or built in, and the first
// administrator, his API key and an inbox are there from the start.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/tasks"
)

// Options of the command; empty URLs mean what dev brings itself.
type Options struct {
	Addr        string // 127.0.0.1:8080
	Data        string // .waybill
	DatabaseURL string
	RedisURL    string
	Program     string // its name, for the greeting

	Types      []tasks.Type // offered beside the built-in ones
	Middleware []tasks.Middleware
	Setup      func(context.Context, *app.Env) error
}

// Run starts everything, prints how to use it, and runs until ctx ends. Killed and started again,
// it goes on where it was.
func Run(ctx context.Context, cfg config.Config, o Options, out io.Writer, log *slog.Logger) error {
	if o.Addr == "" || o.Data == "" { // the one would mean every address, the other the folder where we happen to be
		return errors.New("--addr and --data must not be empty")
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (--addr chooses another address): %w", o.Addr, errors.Unwrap(err))
	}
	defer listener.Close() // again, where app.New did not get that far
	dir, err := filepath.Abs(o.Data)
	if err != nil {
		return fmt.Errorf("find the data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder (--data chooses another): %w", err)
	}
	unlock, err := lockFolder(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	keep, err := loadCredentials(filepath.Join(dir, "dev.json"))
	if err != nil {
		return err
	}
	redisKind, ownRedis := "given", o.RedisURL == ""
	if ownRedis {
		var stop func()
		if o.RedisURL, redisKind, stop, err = startRedis(ctx, dir); err != nil {
			return err
		}
		defer stop()
	}
	if o.DatabaseURL == "" {
		o.DatabaseURL = "sqlite:" + filepath.Join(dir, "waybill.db")
	}
	url := "http://" + fromHere(listener.Addr())
	if err := configure(&cfg, o, keep, url); err != nil {
		return err
	}
	a, err := app.New(ctx, cfg, app.Options{
		API:        app.ServeAPI,
		Worker:     true,
		Migrate:    true,
		Listen:     listener,
		OwnRedis:   ownRedis,
		Wrap:       withInbox,
		Types:      o.Types,
		Middleware: o.Middleware,
		Setup:      o.Setup,
	}, log)
	if err != nil {
		return err
	}
	if err := keep.ensure(ctx, a); err != nil {
		return errors.Join(err, a.Close())
	}
	forget, err := keep.showURL(url)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	defer forget()
	greet(out, url, keep, o, redisKind)
	if err := a.Run(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "  Waybill has stopped. What waits is kept in %s.\n", o.Data)
	return nil
}

// fromHere is where this machine reaches a listener: one on every address at loopback.
func fromHere(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port))
	}
	return a.String()
}

func configure(cfg *config.Config, o Options, keep *credentials, url string) error {
	cfg.DatabaseURL, cfg.RedisURL = config.NewSecret(o.DatabaseURL), config.NewSecret(o.RedisURL)
	if len(cfg.JWTKeys) == 0 {
		cfg.JWTKeys = config.Keys{{ID: "dev", Secret: config.NewSecret(string(keep.SigningKey))}}
	}
	if cfg.PublicURL == "" {
		cfg.PublicURL = config.BaseURL(url)
	}
	// So that http.request reaches what runs on this machine.
	for _, loopback := range []string{"127.0.0.0/8", "::1/128"} {
		cfg.HTTPAllow = append(cfg.HTTPAllow, netip.MustParsePrefix(loopback))
	}
	cfg.Registration = "open"
	return cfg.Validate()
}
