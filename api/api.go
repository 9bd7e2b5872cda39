// Package api is HTTP in and out: it reads requests strictly, decides who may ask for what, and answers in JSON. It holds
// no truth of its own: every handler calls a small interface that is declared beside it.
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
	"github.com/waybill/waybill/tasks"
)

// Deps is what the API calls. All but Ready, Watch, Scrape, Now and LedgerNow are required.
type Deps struct {
	Auth     authenticator
	Accounts accounts
	Jobs     jobLedger
	Carrier  carrier
	Audit    auditor
	Sessions sessions
	Steering steering
	Queues   queueLedger
	Road     road
	// Schedules changes schedules, ScheduleLedger reads them.
	Schedules      scheduler
	ScheduleLedger scheduleLedger
	Redis          redis.UniversalClient // for asynqmon; not closed
	Tasks          *tasks.Catalogue
	Ready          []Check      // what must answer for /readyz to say yes
	Watch          watcher      // nil: requests are not measured
	Scrape         http.Handler // of /metrics; nil: an empty answer
	Log            *slog.Logger
	Now            func() time.Time // time.Now; measures how long things take and how old they are
	LedgerNow      func() time.Time // the ledger's time, for times that come from clients or go to the ledger; nil: Now
}

// auditor keeps a record of deeds. It does not fail the deed: what cannot be recorded is logged by the auditor.
type auditor interface {
	Record(ctx context.Context, e account.AuditEntry)
}

func (d Deps) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"auth": d.Auth == nil, "accounts": d.Accounts == nil, "jobs": d.Jobs == nil, "carrier": d.Carrier == nil, "audit": d.Audit == nil,
		"sessions": d.Sessions == nil, "steering": d.Steering == nil, "queues": d.Queues == nil, "road": d.Road == nil, "redis": d.Redis == nil,
		"schedules": d.Schedules == nil, "schedule ledger": d.ScheduleLedger == nil,
		"tasks": d.Tasks == nil, "log": d.Log == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("dependency %q is missing", name))
		}
	}
	return errors.Join(errs...)
}

// API answers HTTP requests. It is safe for concurrent use and has nothing to stop: the server that runs it has.
type API struct {
	cfg      Config
	deps     Deps
	bound    *bound
	browsers *browsers
	routes   []route
	engine   *gin.Engine
}

// New builds the API. It fails where a required dependency is missing or a setting makes no sense, naming every mistake.
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
	a := &API{cfg: cfg, deps: deps, bound: newBound(cfg.MaxInFlight, cfg.MaxWaiters)}
	docs, err := newDocsHandler(cfg)
	if err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	pages, err := a.pages()
	if err != nil {
		return nil, fmt.Errorf("build api: %w", err)
	}
	jobs := newJobHandler(cfg, deps, a.bound)
	a.routes = slices.Concat(
		jobs.routes(),
		newTaskTypeHandler(deps.Tasks).routes(),
		newQueueHandler(cfg, deps).routes(),
		newScheduleHandler(cfg, deps, jobs.quota).routes(),
		pages,
		accountRoutes(deps.Accounts),
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
	if a.browsers, err = newBrowsers(a.cfg, a.deps.Sessions); err != nil {
		return nil, err
	}
	login, err := newLoginHandler(a.browsers)
	if err != nil {
		return nil, err
	}
	monitor, err := newMonitor(a.cfg, a.deps, a.browsers)
	if err != nil {
		return nil, err
	}
	return slices.Concat(login.routes(), monitor.routes()), nil
}

// Handler is the whole API.
func (a *API) Handler() http.Handler { return a.engine }

// Server is an http.Server for the API with the limits that keep slow or endless clients from holding connections. The
// caller gives it a listener and shuts it down.
func (a *API) Server() *http.Server {
	return &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       60 * time.Second,                                         // a 32 MiB batch at 4.5 Mbit/s; it ends with the body
		WriteTimeout:      maxWait + 30*time.Second,                                 // must outlast the longest wait for a job
		IdleTimeout:       120 * time.Second,                                        // longer than the 60 s that load balancers keep connections
		MaxHeaderBytes:    2*maxHeaderBytes + maxURI,                                // above our own limits, so that 414 and 431 are answered as problems
		ErrorLog:          slog.NewLogLogger(a.deps.Log.Handler(), slog.LevelDebug), // strangers' broken connections
		// "OPTIONS *" gets the same answer as any other unknown path.
		DisableGeneralOptionsHandler: true,
	}
}
