// Package app builds a process of Waybill: an API, a worker, or both in one. It hands the real
// things to those who only declare what they need, starts everything in order, and stops it in
// reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/cache"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/reconcile"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/schedule"
	"github.com/waybill/waybill/store"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin"
	"github.com/waybill/waybill/worker"
)

// App is one process, built and ready to run.
type App struct {
	cfg        config.Config
	log        logger
	store      *store.Store
	ledger     *instrumentedLedger
	redis      redis.UniversalClient
	dispatcher *dispatch.Dispatcher
	mark       *redisx.DeploymentMark
	reconciler *reconcile.Reconciler // nil: this process runs no jobs
	pool       *worker.Pool          // nil: the same
	tasks      *catalogue.Catalogue
	auth       *auth.Service
	telemetry  *telemetry
	schedules  *schedule.Service
	services   []service
	closers    []func() error
	listener   net.Listener
	watched    net.Listener // where a worker without an API is watched; nil elsewhere
}

// Component adds to a process what belongs to it. It is named by who builds the process, so that
// the linker leaves it out of the others: a quarter of a worker's program is the API that it does
// not serve.
type Component func(*App, Options) error

// Options say what the process is.
type Options struct {
	API     Component // ServeAPI, or nil
	Worker  bool
	Migrate bool         // apply missing migrations instead of refusing to start
	Listen  net.Listener // for the API; nil: cfg.Addr is opened
	// OwnRedis says that this process started its Redis itself, private to this data folder: its
	// settings are not checked, and it is marked as this deployment's whatever was in it.
	OwnRedis bool
	// Wrap stands before the API's handler; nil: nothing does.
	Wrap func(http.Handler) http.Handler
	// Types are offered beside the built-in ones. A process that runs jobs needs them with their
	// handlers, here or from Setup; one that takes submissions needs their definitions.
	Types []tasks.Type
	// Middleware wraps the handlers of all types; the first is the outermost.
	Middleware []tasks.Middleware
	// Setup runs once in a process that runs jobs, before its first claim. Nil: nothing to do.
	Setup func(context.Context, *Env) error
}

// New builds the process. Everything that can be wrong is found here: a taken port, a database that
// cannot be reached or is not migrated, a Redis that would destroy tasks. What was opened is closed
// again if it fails.
func New(ctx context.Context, cfg config.Config, o Options, log logger) (a *App, err error) {
	a = &App{cfg: cfg, log: log, listener: o.Listen}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if o.API != nil && a.listener == nil {
		if a.listener, err = listen(cfg.Addr, "WAYBILL_ADDR"); err != nil {
			return a, err
		}
	}
	if a.listener != nil {
		a.closers = append(a.closers, func() error { return ignoreClosed(a.listener.Close()) })
	}
	if err = a.open(ctx, o); err != nil {
		return a, err
	}
	if o.Worker {
		if err = a.addWorker(o); err != nil {
			return a, err
		}
	}
	if o.API != nil {
		err = o.API(a, o)
	}
	return a, err
}

// open connects to the ledger and to Redis, and makes what both kinds of process need.
func (a *App) open(ctx context.Context, o Options) (err error) {
	if err = a.addTelemetry(ctx, o); err != nil {
		return err
	}
	if err = a.openStore(ctx, o); err != nil {
		return err
	}
	if err = a.followLedger(ctx); err != nil {
		return err
	}
	if a.redis, err = redisx.Connect(a.cfg.RedisURL.Reveal()); err != nil {
		return err
	}
	a.closers = append(a.closers, a.redis.Close)
	if err = a.checkRedis(ctx, o); err != nil {
		return err
	}
	if err = a.addTypes(ctx, o); err != nil {
		return err
	}
	a.telemetry.expect(a.tasks, a.cfg.Queues.Names(), o.Worker)
	if a.dispatcher, err = dispatch.New(dispatch.Config{Private: a.private, Mark: a.mark, Clock: a.store.Clock()},
		a.redis, a.log); err != nil {
		return err
	}
	a.ledger = newInstrumentedLedger(a.store, cache.NewJobs(a.redis, a.private, a.log), a.telemetry)
	a.add("ledger", func(ctx context.Context) error { <-ctx.Done(); a.ledger.drain(); return nil })
	a.add("redis mark", a.mark.Run)
	a.add("dispatch", a.dispatcher.Run)
	a.addMetrics()
	a.schedules, err = a.newSchedules()
	return err
}

// checkRedis refuses a Redis that cannot be used as it is set up, would destroy tasks, or is
// another deployment's. One that does not answer is waited for.
func (a *App) checkRedis(ctx context.Context, o Options) error {
	if !o.OwnRedis {
		if err := redisx.CheckSettings(ctx, a.redis, a.log, asynqredis.WakeUpChannel,
			asynqredis.CancelChannel); err != nil {
			return err
		}
	}
	id, err := a.store.Deployment(ctx)
	if err != nil {
		return plainly(err)
	}
	if a.mark, err = redisx.NewDeploymentMark(a.redis, id, a.log); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err = a.mark.Check(short)
	if errors.Is(err, redisx.ErrOtherDeployment) && o.OwnRedis {
		err = a.mark.TakeOver(short, reconcile.WatermarkKeys(a.cfg.Queues.Names()))
	}
	if errors.Is(err, redisx.ErrOtherDeployment) {
		return err
	}
	return nil // it did not answer
}

func (a *App) openStore(ctx context.Context, o Options) (err error) {
	a.store, err = store.Open(
		ctx,
		store.Config{URL: a.cfg.DatabaseURL.Reveal(), MaxConns: a.cfg.DatabaseMaxConns, Log: a.log,
			Observer: a.telemetry.jobs},
	)
	if err != nil {
		return plainly(err)
	}
	a.closers = append(a.closers, a.store.Close)
	if err = a.store.CheckSessions(ctx); err != nil {
		return plainly(err)
	}
	if o.Migrate {
		applied, err := a.store.Migrate(ctx)
		if len(applied) > 0 {
			a.log.InfoContext(ctx, "migrations applied", "count", len(applied))
		}
		if err != nil {
			return plainly(err)
		}
	}
	return plainly(a.store.Check(ctx))
}

// plainly shows why a database cannot be used, and which setting names it: the operator who starts
// a process may know both.
func plainly(err error) error {
	var e *job.Error
	switch {
	case err == nil,
		errors.Is(err, store.ErrPending),
		errors.Is(err, store.ErrUnknown),
		errors.Is(err, store.ErrEdited),
		errors.Is(err, store.ErrLocked):
		return err
	case errors.As(err, &e) && e.Err != nil:
		err = e.Err
	}
	return fmt.Errorf("the database cannot be used (DATABASE_URL): %s", oneLine(err))
}

// oneLine is what err says, without the line breaks of lists and without what it says twice: pgx
// names each try to connect.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

func (a *App) private(taskType string) bool {
	t, ok := a.tasks.Lookup(taskType)
	return !ok || t.Private
}

func (a *App) add(name string, run func(context.Context) error) {
	a.services = append(a.services, service{name: name, run: run})
}

// Run runs until ctx ends or a part fails, and puts everything away.
func (a *App) Run(ctx context.Context) error {
	err := runAll(ctx, a.log, a.services)
	return errors.Join(err, a.Close())
}

// Addr is where the API listens.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// WatchAddr is where a worker without an API serves its metrics and readiness.
func (a *App) WatchAddr() net.Addr { return a.watched.Addr() }

// Close lets go of everything that New opened, last first. Run does it by itself.
func (a *App) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// addTypes fills the catalogue. Setup may add handlers, too, so it runs before anything reads it.
func (a *App) addTypes(ctx context.Context, o Options) error {
	types, err := builtin.Types(taskConfig(a.cfg), a.log)
	if err != nil {
		return err
	}
	if a.tasks, err = catalogue.New(append(types, o.Types...)...); err != nil {
		return err
	}
	a.tasks.Use(o.Middleware...)
	if !o.Worker || o.Setup == nil {
		return nil
	}
	return o.Setup(ctx, &Env{a})
}

func taskConfig(c config.Config) builtin.Config {
	command := builtin.CommandConfig{Allow: c.Commands, Env: c.CommandEnv}
	if c.CommandUser.Set {
		command.User = &builtin.CommandUser{UID: c.CommandUser.UID, GID: c.CommandUser.GID}
	}
	return builtin.Config{
		HTTP: builtin.HTTPConfig{Secret: c.WebhookSecret.Reveal(), Allow: c.HTTPAllow, Version: Version()},
		SMTP: builtin.SMTPConfig{
			Addr:     c.SMTPAddr,
			Username: c.SMTPUsername,
			Password: c.SMTPPassword.Reveal(),
			From:     c.SMTPFrom,
			HELO:     c.SMTPHELO,
			TLS:      c.SMTPTLS,
			CAFile:   c.SMTPCAFile,
		},
		Command: command,
	}
}

// version is set by the build where there is no repository to read it from: -ldflags "-X
// github.com/waybill/waybill/internal/app.version=v1.2.3".
var version string

// Version is what the build was told, or the module's, as Go recorded it.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

const httpGrace = 15 * time.Second
