package builtin

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill/waybill/tasks"
)

const (
	maxSleep      = time.Hour
	sleepProgress = time.Second // between two reports
)

type sleepPayload struct {
	Duration     string `json:"duration" jsonschema:"minLength=2,maxLength=30,example=3s" jsonschema_description:"How long to sleep, as a Go duration: 250ms, 3s, 1m30s. At most 1h; the job's timeout must be longer."`
	IgnoreCancel bool   `json:"ignore_cancel,omitempty" jsonschema_description:"Sleep on when the attempt is canceled or times out, as a badly written handler would."`
}

// debugSleep takes its time and reports progress. The job's own timeout bounds it too: an hour's
// sleep needs a timeout of its own.
func debugSleep() tasks.Type {
	return tasks.Definition[sleepPayload, map[string]string]{
		Name:        "debug.sleep",
		Description: "Sleeps, reporting its progress every second.",
		Example:     sleepPayload{Duration: "3s"},
		Check: func(p sleepPayload) []tasks.FieldError {
			if _, err := p.duration(); err != nil {
				return []tasks.FieldError{{Pointer: "/duration", Detail: err.Error()}}
			}
			return nil
		},
	}.Handle(sleep)
}

func (p sleepPayload) duration() (time.Duration, error) {
	d, err := time.ParseDuration(p.Duration)
	if err != nil || d < 0 || d > maxSleep {
		return 0, fmt.Errorf("must be a duration from 0s to 1h, like 3s")
	}
	return d, nil
}

func sleep(ctx context.Context, j *tasks.Job[sleepPayload]) (map[string]string, error) {
	p := j.Payload
	d, err := p.duration()
	if err != nil {
		return nil, tasks.Permanent(fmt.Errorf("duration: %w", err))
	}
	ended := ctx.Done()
	if p.IgnoreCancel {
		ended = nil // never ready
	}
	done := time.NewTimer(d)
	defer done.Stop()
	tick := time.NewTicker(sleepProgress)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-done.C:
			return map[string]string{"slept": d.String()}, nil
		case <-ended:
			return nil, fmt.Errorf("sleep interrupted: %w", context.Cause(ctx))
		case now := <-tick.C:
			tasks.Progress(ctx, 100*float64(now.Sub(start))/float64(d), "sleeping")
		}
	}
}
