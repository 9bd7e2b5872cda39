package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

// The watermark of a queue says up to which delivery every open job of the queue was seen in Redis.
// It lies in Redis, in the queue's own slot, so that it shares its tasks' fate: Redis loses the
// newest part of its log, or all of it, and whatever loses a task loses the watermark that vouched
// for it, which was written later. A crash between commit and send, a lost log tail, a lagging
// replica that was promoted, FLUSHALL and an empty new Redis are all the same case.

// advanceScript raises the watermark if every task is there, in one step: what it saw and what it
// writes are one place in Redis's log.
//
// KEYS[1]  the watermark
// KEYS[2…] the tasks' keys
// ARGV[1]  the watermark that was read; empty: none
// ARGV[2]  the new one
//
// Returns the places (from 1) of the tasks that are missing. None: the watermark is raised, unless
// another reconciler moved it meanwhile, or Redis lost it: then {0}.
var advanceScript = redis.NewScript(`
local missing = {}
for i = 2, #KEYS do
	if redis.call("EXISTS", KEYS[i]) == 0 then
		missing[#missing + 1] = i - 1
	end
end
if #missing > 0 then
	return missing
end
if (redis.call("GET", KEYS[1]) or "") ~= ARGV[1] then
	return {0}
end
redis.call("SET", KEYS[1], ARGV[2])
return {}
`)

const (
	advancePage  = 1000
	advanceTries = 5 // of one page: jobs finish while it is looked at
)

// reconcileSent walks the deliveries between the watermark and the horizon, sends what Redis does
// not know, and raises the watermark.
func (r *Reconciler) reconcileSent(ctx context.Context, queue string) error {
	horizon, err := r.horizon(ctx)
	if err != nil {
		return err
	}
	mark, err := r.readWatermark(ctx, queue)
	if err != nil {
		return err
	}
	if mark, err = r.afterClockStep(ctx, queue, mark, horizon); err != nil {
		return err
	}
	missing := int64(0)
	defer func() { r.divergent[queue][KindMissing].set(missing) }()
	for {
		next, n, err := r.advancePage(ctx, queue, mark, horizon)
		missing += n
		if err != nil || next.text == "" || next.DispatchAt.Equal(horizon) {
			return err
		}
		mark = next
	}
}

// afterClockStep looks for a watermark ahead of the ledger's clock: it was set before that clock
// stepped back. What was decided since then lies before it, and what was decided shortly before the
// step lies behind the horizon for as long as the step was wide. So what lies behind the horizon is
// looked up here, and the answer is to begin from the first delivery.
func (r *Reconciler) afterClockStep(
	ctx context.Context,
	queue string,
	mark position,
	horizon time.Time,
) (position, error) {
	if !mark.DispatchAt.After(r.cfg.Clock.Now()) {
		return mark, nil
	}
	r.log.WarnContext(ctx, "the ledger's clock has stepped back, all open jobs are looked up in redis", "queue", queue)
	for at := (job.Position{DispatchAt: horizon}); ; {
		page, err := r.ledger.OpenDeliveries(ctx, queue, at, endOfTime, advancePage)
		if err != nil {
			return mark, err
		}
		if err := r.resendMissing(ctx, queue, page); err != nil {
			return mark, err
		}
		if len(page) < advancePage {
			mark.Position = job.Position{}
			return mark, nil
		}
		at = page[len(page)-1].Position
	}
}

// resendMissing sends those of the deliveries that Redis does not know.
func (r *Reconciler) resendMissing(ctx context.Context, queue string, page []job.OpenDelivery) error {
	places, err := advanceScript.Run(ctx, r.redis, watermarkAndTaskKeys(queue, page), noWatermark, "").Int64Slice()
	if err != nil {
		return fmt.Errorf("look tasks up: %w", err)
	}
	var ids []job.ID
	for _, p := range places {
		if p > 0 {
			ids = append(ids, page[p-1].ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return r.resend(ctx, ReasonLost, ids)
}

// noWatermark is the text of no watermark: with it the script looks tasks up and writes nothing.
const noWatermark = "none"

// endOfTime lies behind every delivery.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// advancePage looks the deliveries after the watermark up, sends what is missing, and looks again
// until nothing is: then it raises the watermark. It answers how many were missing, and the new
// watermark; that has no text where it could not be raised.
func (r *Reconciler) advancePage(
	ctx context.Context,
	queue string,
	mark position,
	horizon time.Time,
) (next position, missing int64, err error) {
	for range advanceTries {
		page, err := r.ledger.OpenDeliveries(ctx, queue, mark.Position, horizon, advancePage)
		if err != nil {
			return position{}, missing, err
		}
		// OpenDeliveries ends before the horizon: the horizon itself, without an id, covers nothing
		// that lies on it.
		next := position{Position: job.Position{DispatchAt: horizon}}
		if len(page) == advancePage {
			next.Position = page[len(page)-1].Position
		}
		next.text = next.String()
		places, err := advanceScript.Run(ctx, r.redis, watermarkAndTaskKeys(queue, page), mark.text, next.text).
			Int64Slice()
		switch {
		case err != nil:
			return position{}, missing, fmt.Errorf("look tasks up: %w", err)
		case len(places) == 0:
			return next, missing, nil
		case places[0] == 0: // the next pass begins where the watermark is then
			return position{}, missing, nil
		}
		missing += int64(len(places))
		ids := make([]job.ID, len(places))
		for i, p := range places {
			ids[i] = page[p-1].ID
		}
		if err := r.resend(ctx, ReasonLost, ids); err != nil || r.dispatcher.Full() { // full: they wait in the ledger
			return position{}, missing, err
		}
	}
	return position{}, missing, nil
}

func watermarkAndTaskKeys(queue string, page []job.OpenDelivery) []string {
	keys := append(make([]string, 0, len(page)+1), watermarkKey(queue))
	for _, d := range page {
		keys = append(keys, asynqredis.TaskKey(queue, job.TaskID(d.ID, d.Number)))
	}
	return keys
}

// horizon is the time before which no delivery is decided any more unseen, and the fast path had
// its chance.
func (r *Reconciler) horizon(ctx context.Context) (time.Time, error) {
	now, err := r.ledger.Now(ctx)
	if err != nil {
		return time.Time{}, err
	}
	settled, err := r.ledger.SettledBefore(ctx)
	if grace := now.Add(-r.cfg.Grace); grace.Before(settled) {
		settled = grace
	}
	r.lag.Store(int64(now.Sub(settled)))
	return settled.Truncate(time.Microsecond), err
}

// resend sends deliveries as the ledger has them now, many at once.
func (r *Reconciler) resend(ctx context.Context, reason string, ids []job.ID) error {
	messages, err := r.ledger.Messages(ctx, ids)
	if err != nil {
		return err
	}
	return r.resendAll(ctx, reason, messages)
}

func (r *Reconciler) resendAll(ctx context.Context, reason string, messages []job.Message) error {
	var group errgroup.Group
	group.SetLimit(asynqredis.MaxEnqueueBatch)
	var once sync.Once
	for _, p := range messages {
		group.Go(func() error {
			if r.dispatcher.Full() {
				return nil
			}
			if err := r.dispatcher.SendNow(ctx, p); err != nil {
				return err
			}
			r.resent[reason].Add(1)
			once.Do(func() {
				r.log.InfoContext(ctx, "reconciler sends jobs", "reason", reason, "queue", p.Queue, "up_to", len(messages))
			})
			return nil
		})
	}
	return group.Wait()
}

// position is a position and the very text that Redis holds for it.
type position struct {
	job.Position
	text string
}

func (r *Reconciler) readWatermark(ctx context.Context, queue string) (position, error) {
	text, err := r.redis.Get(ctx, watermarkKey(queue)).Result()
	if err == redis.Nil {
		return position{}, nil
	}
	if err != nil {
		return position{}, fmt.Errorf("read the watermark: %w", err)
	}
	return parseWatermark(text), nil
}

// parseWatermark reads what String wrote. One that cannot be read covers nothing, but keeps
// its text, so that it can be replaced.
func parseWatermark(text string) position {
	micros, id, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(micros, 10, 64)
	if err != nil || n <= 0 {
		return position{text: text}
	}
	w := position{Position: job.Position{DispatchAt: time.UnixMicro(n).UTC()}, text: text}
	if id != "" {
		if w.ID, err = job.ParseID(id); err != nil {
			return position{text: text}
		}
	}
	return w
}

func (w position) String() string {
	s := strconv.FormatInt(w.DispatchAt.UnixMicro(), 10)
	if !w.ID.IsZero() {
		s += " " + w.ID.String()
	}
	return s
}

// WatermarkKeys are the keys of the queues' watermarks.
func WatermarkKeys(queues []string) []string {
	keys := make([]string, len(queues))
	for i, q := range queues {
		keys[i] = watermarkKey(q)
	}
	return keys
}

func watermarkKey(queue string) string { return "waybill:{" + queue + "}:watermark" }
