// Package api is the HTTP API: it reads requests strictly, decides who may do what, and answers in
// JSON. It keeps no state of its own: every handler calls a small interface that is declared beside
// it, and internal/app provides.
//
// It is a part of Waybill, not a library: its Go API changes without notice. What clients may rely on
// is openapi.yaml. Programs are built with packages tasks, server and client.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
)

// Deps is what the API calls. All but WebhookSecrets, Ready, Watch, Scrape, Now and LedgerNow are
// required.
type Deps struct {
	Auth       authenticator
	Accounts   accounts
	Jobs       jobLedger
	Dispatcher dispatcher
	Audit      auditor
	Sessions   sessions
	Steering   jobSteering
	Queues     queueLedger
	Inspector  queueInspector
	// Schedules changes schedules, ScheduleLedger reads them.
	Schedules      scheduler
	ScheduleLedger scheduleLedger
	Redis          redis.UniversalClient // for asynqmon; not closed
	Tasks          *catalogue.Catalogue
	// WebhookSecrets are what signs the requests of one owner's jobs, the newest first; nil:
	// nothing does.
	WebhookSecrets func(owner job.ID) ([]string, error)
	Ready          []Check         // what must answer for /readyz to say yes
	Watch          metricsObserver // nil: requests are not measured
	Scrape         http.Handler    // of /metrics; nil: an empty answer
	Log            *slog.Logger
	Now            func() time.Time // time.Now; measures how long things take and how old they are
	LedgerNow      func() time.Time // the ledger's time, for times that come from clients or go to the ledger; nil: Now
}

// auditor keeps a record of actions. It does not fail the action: what cannot be recorded is logged by
// the auditor.
type auditor interface {
	Record(ctx context.Context, e account.AuditEntry)
	// RecordRefused writes down that the actor was refused something. It bounds how many such
	// entries one actor causes.
	RecordRefused(ctx context.Context, e account.AuditEntry)
}

func (d Deps) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"auth": d.Auth == nil, "accounts": d.Accounts == nil, "jobs": d.Jobs == nil, "dispatcher": d.Dispatcher == nil,
		"audit":    d.Audit == nil,
		"sessions": d.Sessions == nil, "steering": d.Steering == nil, "queues": d.Queues == nil,
		"inspector": d.Inspector == nil, "redis": d.Redis == nil,
		"schedules": d.Schedules == nil, "schedule ledger": d.ScheduleLedger == nil,
		"tasks": d.Tasks == nil, "log": d.Log == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("dependency %q is missing", name))
		}
	}
	return errors.Join(errs...)
}

// API answers HTTP requests. It is safe for concurrent use and has nothing to stop: the server that
// runs it has.
type API struct {
	cfg      Config
	deps     Deps
	bound    *inflightLimit
	memory   *byteBudget
	base     base
	proxies  *proxies
	stopping context.Context // ends when the server begins to shut down
	stop     context.CancelFunc
	browsers *browsers
	routes   []route
	engine   *gin.Engine
}

// New builds the API. It fails where a required dependency is missing or a setting makes no sense,
// naming every mistake.
func New(cfg Config, deps Deps) (*API, error) {
	cfg = cfg.withDefaults()
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.LedgerNow == nil {
		deps.LedgerNow = deps.Now
	}
	if err := errors.Join(cfg.validate(), deps.validate()); err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	a := &API{cfg: cfg, deps: deps, bound: newInflightLimit(cfg.MaxInFlight, cfg.MaxWaiters),
		memory:  newByteBudget(cfg.BodyMemory, max(cfg.MaxBody, cfg.MaxBatchBody)+1), // a byte more, to see the end
		proxies: &proxies{trusted: cfg.TrustedProxies, log: deps.Log}}
	var err error
	if a.base, err = baseOf(cfg.PublicURL); err != nil {
		return nil, fmt.Errorf("build api: public URL: %w", err)
	}
	a.stopping, a.stop = context.WithCancel(context.Background())
	docs, err := newDocsHandler(cfg, a.base)
	if err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	pages, err := a.pages()
	if err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	jobs := newJobHandler(a)
	a.routes = slices.Concat(
		jobs.routes(),
		newTaskTypeHandler(deps.Tasks).routes(),
		newQueueHandler(cfg, deps).routes(),
		newScheduleHandler(cfg, deps, jobs.quota).routes(),
		pages,
		accountRoutes(deps.Accounts),
		(&webhookHandler{deps}).routes(),
		newHealthHandler(deps).routes(),
		newMetricsHandler(deps).routes(),
		docs.routes(),
	)
	if a.engine, err = a.newEngine(); err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	return a, nil
}

// pages are the routes that people use with a browser.
func (a *API) pages() (routes []route, err error) {
	if a.browsers, err = newBrowsers(a.cfg, a.base, a.deps.Sessions); err != nil {
		return nil, err
	}
	login, err := newLoginHandler(a.browsers, a.deps.Accounts)
	if err != nil {
		return nil, err
	}
	monitor, err := newMonitor(a.cfg, a.deps, a.browsers)
	if err != nil {
		return nil, err
	}
	password, err := newPasswordHandler(a.browsers, a.deps.Accounts)
	if err != nil {
		return nil, err
	}
	return slices.Concat(login.routes(), password.routes(), monitor.routes()), nil
}

// Handler is the whole API.
func (a *API) Handler() http.Handler { return a.base.under(a.engine) }

const (
	readTimeout = 10 * time.Second // for the headers and a short body: see readAll for longer ones
	idleTimeout = 2 * time.Minute  // longer than the 60 s that load balancers keep connections
)

// Server is an http.Server for the API. The caller gives it a listener whose connections are
// bounded, and whose writes have deadlines: see peer.Protect. When it shuts down, requests that
// wait for a job are answered at once.
func (a *API) Server() *http.Server {
	s := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: readTimeout / 2,
		ReadTimeout:       readTimeout,
		WriteTimeout:      maxWait + 30*time.Second,
		// where the listener is a plain one; must outlast the longest wait for a job
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: 2*maxHeaderBytes + maxURI,
		// above our own limits, so that 414 and 431 are answered as problems
		ErrorLog: slog.NewLogLogger(a.deps.Log.Handler(), slog.LevelDebug), // strangers' broken connections
		// "OPTIONS *" gets the same answer as any other unknown path.
		DisableGeneralOptionsHandler: true,
	}
	s.RegisterOnShutdown(a.stop)
	return s
}
