package app

import (
	"context"
	"fmt"
	"slices"
	_ "time/tzdata" // for machines without a time zone database of their own

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/internal/schedule"
)

// newSchedules is for both kinds of process: the API changes schedules, workers run them.
func (a *App) newSchedules() (*schedule.Service, error) {
	return schedule.New(
		schedule.Config{MinInterval: a.cfg.MinScheduleInterval, MaxOpen: a.cfg.MaxOpenJobs},
		schedule.Deps{Ledger: a.ledger,
			Dispatcher: a.dispatcher, Fits: a.typeCheck, Log: a.log, Observer: obs.NewSchedules(a.telemetry.registry)},
	)
}

// typeCheck says whether a job could be run by this deployment.
func (a *App) typeCheck(s job.Submission) error {
	t, ok := a.tasks.Lookup(s.Type)
	if !ok {
		return job.Invalid("/type", fmt.Sprintf("%q is no task type of this deployment", s.Type))
	}
	if !slices.Contains(a.cfg.Queues.Names(), s.Queue) {
		return job.Invalid("/queue", fmt.Sprintf("%q is not a queue of this deployment", s.Queue))
	}
	return t.Check(s.Payload)
}

// addScheduler runs schedules in this process. Any number of processes may.
func (a *App) addScheduler() {
	a.add("schedules", a.schedules.Run)
	if keep := a.cfg.Retention; keep > 0 {
		a.add("purge ticks", every(purgeEvery, func(ctx context.Context) error {
			now, err := a.store.Now(ctx)
			if err != nil {
				return err
			}
			return a.store.PurgeTicks(ctx, now.Add(-keep))
		}, a.log))
	}
}
