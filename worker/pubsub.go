package worker

import (
	"context"
	"fmt"
	"log/slog"
)

// listen receives wake-ups and hints that a cancel was asked for. Both only speed up what polling and
// the heartbeat find by themselves, so that a subscription that is lost for a while costs time, not
// work. go-redis subscribes again by itself.
func (p *Pool) listen(ctx context.Context) {
	sub := p.deps.Redis.Subscribe(ctx, p.cfg.WakeUpChannel, p.cfg.CancelChannel)
	defer sub.Close()
	messages := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			switch {
			case !ok:
				return
			case m.Channel == p.cfg.WakeUpChannel:
				p.notifier.Notify(m.Payload)
			default:
				p.beatSoon()
			}
		}
	}
}

// asynqLog writes asynq's log into ours. Its warnings are about single tasks that the ledger
// accounts for.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Warn("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error("asynq", "text", fmt.Sprint(args...)) }
