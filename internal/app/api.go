package app

import (
	"github.com/waybill/waybill/api"
	"github.com/waybill/waybill/internal/auth"
)

func (a *App) addAPI(o Options) error {
	var err error
	if a.auth, err = a.newAuth(); err != nil {
		return err
	}
	h, err := api.New(api.Config{
		Version: Version(), PublicURL: string(a.cfg.PublicURL), Queues: a.cfg.Queues.Names(),
		MaxBody: a.cfg.MaxBody, MaxBatchBody: a.cfg.MaxBatchBody,
		TrustedProxies: a.cfg.TrustedProxies, CORSOrigins: a.cfg.CORSOrigins,
		Quota: api.QuotaConfig{RatePerSecond: a.cfg.RatePerSecond, MaxOpen: a.cfg.MaxOpenJobs},
	}, api.Deps{Auth: a.auth, Jobs: a.ledger, Carrier: a.carrier, Audit: a.auth, Tasks: a.tasks, Ready: a.ready(), Log: a.log})
	if err != nil {
		return err
	}
	a.add("auth", a.auth.Run)
	server := h.Server()
	if o.Wrap != nil {
		server.Handler = o.Wrap(server.Handler)
	}
	a.add("http", serve(server, a.listener, httpGrace))
	return nil
}

func (a *App) newAuth() (*auth.Service, error) {
	keys := make([]auth.SigningKey, len(a.cfg.JWTKeys))
	for i, k := range a.cfg.JWTKeys {
		keys[i] = auth.SigningKey{ID: k.ID, Secret: []byte(k.Secret.Reveal())}
	}
	return auth.New(auth.Config{Keys: keys, Issuer: string(a.cfg.PublicURL), Open: a.cfg.RegistrationOpen()},
		auth.Deps{Ledger: a.store, Redis: a.redis, Log: a.log})
}

// ready names what must answer. Redis is not among it: without it jobs are accepted all the same.
func (a *App) ready() []api.Check {
	return []api.Check{
		{Name: "ledger", Ready: a.store.Ping},
	}
}
