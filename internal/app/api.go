package app

import (
	"context"

	"github.com/waybill/waybill/api"
	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/internal/peer"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin"
)

// ServeAPI is the Part that answers requests.
func ServeAPI(a *App, o Options) error {
	var err error
	if a.auth, err = a.newAuth(); err != nil {
		return err
	}
	h, err := api.New(api.Config{
		Version: Version(), PublicURL: string(a.cfg.PublicURL), Queues: a.cfg.Queues.Names(),
		PrometheusURL: string(a.cfg.PrometheusURL),
		MaxBody:       a.cfg.MaxBody, MaxBatchBody: a.cfg.MaxBatchBody,
		BodyMemory: max(a.cfg.BodyMemory, a.cfg.MaxBody+1, a.cfg.MaxBatchBody+1), MaxWaiters: a.cfg.MaxWaiting,
		TrustedProxies: a.cfg.TrustedProxies, CORSOrigins: a.cfg.CORSOrigins,
		Quota: api.QuotaConfig{RatePerSecond: a.cfg.RatePerSecond, MaxOpen: a.cfg.MaxOpenJobs},
	}, api.Deps{Auth: a.auth, Accounts: a.auth, Jobs: a.ledger, Dispatcher: a.dispatcher, Audit: a.auth,
		Sessions: a.auth, Steering: a.ledger,
		Queues: &queueCounts{
			ledger: a.ledger,
			stats:  asynqredis.NewStats(a.redis, a.store.Clock()),
			queues: a.cfg.Queues.Names(),
			log:    a.log,
		}, Inspector: a.dispatcher, Redis: a.redis,
		Schedules: a.schedules, ScheduleLedger: a.ledger, Tasks: a.tasks, Ready: a.ready(),
		WebhookSecrets: func(owner job.ID) ([]string, error) {
			return builtin.WebhookSecrets(taskConfig(a.cfg).HTTP, tasks.ID(owner))
		},
		Watch: a.telemetry.http, Scrape: obs.Handler(a.telemetry.registry), Log: a.log, LedgerNow: a.store.Clock().Now})
	if err != nil {
		return err
	}
	a.add("auth", a.auth.Run)
	server := h.Server()
	if o.Wrap != nil {
		server.Handler = o.Wrap(server.Handler)
	}
	a.add(
		"http",
		serve(
			server,
			a.listener,
			peer.Limits{Conns: a.cfg.PeerConns, Unfinished: a.cfg.PeerRequests, Total: a.cfg.MaxConns,
				Proxies: a.cfg.TrustedProxies},
			httpGrace,
		),
	)
	return nil
}

func (a *App) newAuth() (*auth.Service, error) {
	keys := make([]auth.SigningKey, len(a.cfg.JWTKeys))
	for i, k := range a.cfg.JWTKeys {
		keys[i] = auth.SigningKey{ID: k.ID, Secret: []byte(k.Secret.Reveal())}
	}
	deps := auth.Deps{Ledger: a.store, Redis: a.redis, Log: a.log, LedgerNow: a.store.Clock().Now}
	if a.cfg.SMTPAddr != "" {
		m, err := builtin.NewNoticeMailer(taskConfig(a.cfg).SMTP, a.log)
		if err != nil {
			return nil, err
		}
		deps.Mailer = m
	}
	return auth.New(
		auth.Config{
			Keys:           keys,
			Issuer:         string(a.cfg.PublicURL),
			Open:           a.cfg.RegistrationOpen(),
			SignInTTL:      a.cfg.SignInTTL,
			AuditRetention: a.cfg.AuditRetention,
			PublicURL:      string(a.cfg.PublicURL),
		},
		deps,
	)
}

// ready names what an API needs: a ledger that can be written to. Redis may be down: jobs are
// accepted all the same. A Redis of another deployment makes the API not ready, since only an
// operator can correct that.
func (a *App) ready() []api.Check {
	return []api.Check{
		{Name: "ledger", Ready: a.store.Ready},
		{Name: "redis (it is another deployment's)", Ready: func(context.Context) error { return a.mark.Err() }},
	}
}

// readyToWork names what a worker needs.
func (a *App) readyToWork() []api.Check {
	return append(a.ready(),
		api.Check{Name: "redis", Ready: func(ctx context.Context) error { return a.redis.Ping(ctx).Err() }},
		api.Check{Name: "ledger (claims are not answered)", Ready: a.pool.Ready})
}
