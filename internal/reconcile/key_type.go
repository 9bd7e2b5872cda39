package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
)

// typedKey is a key and the type that asynq or Waybill gives it.
type typedKey struct {
	name, want string
	is         string // what it was found to be
}

// sharedKeys are those of no queue.
func sharedKeys() []typedKey {
	return []typedKey{
		{name: asynqredis.QueuesKey, want: "set"},
		{name: "asynq:servers", want: "zset"},
		{name: "asynq:workers", want: "zset"},
		{name: "asynq:schedulers", want: "zset"},
	}
}

// queueKeys are those of a queue, but its tasks.
func queueKeys(queue string) []typedKey {
	p := asynqredis.QueuePrefix(queue)
	return []typedKey{
		{name: p + "pending", want: "list"},
		{name: p + "active", want: "list"},
		{name: p + "lease", want: "zset"},
		{name: p + "scheduled", want: "zset"},
		{name: p + "retry", want: "zset"},
		{name: p + "archived", want: "zset"},
		{
			name: p + "completed",
			want: "zset",
		},
		{name: p + "paused", want: "string"},
		{name: p + "processed", want: "string"},
		{name: p + "failed", want: "string"},
		{name: watermarkKey(queue), want: "string"},
	}
}

// wrongKeys answers those of the keys that have another type than they should. asynq's scripts fail
// where they meet one, so that whatever the key should hold cannot be carried.
func (r *Reconciler) wrongKeys(ctx context.Context, keys []typedKey) (wrong []typedKey, err error) {
	p := r.redis.Pipeline()
	types := make([]*redis.StatusCmd, len(keys))
	for i, k := range keys {
		types[i] = p.Type(ctx, k.name)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask redis for the types of keys: %w", err)
	}
	for i, k := range keys {
		if k.is = types[i].Val(); k.is != "none" && k.is != k.want {
			wrong = append(wrong, k)
		}
	}
	return wrong, nil
}

func (r *Reconciler) checkKeys(ctx context.Context, queue string) error {
	wrong, err := r.wrongKeys(ctx, queueKeys(queue))
	if err != nil {
		return err
	}
	return r.setAside(ctx, queue, wrong)
}

func (r *Reconciler) checkSharedKeys(ctx context.Context) error {
	wrong, err := r.wrongKeys(ctx, sharedKeys())
	if err != nil {
		return err
	}
	return r.setAside(ctx, "", wrong)
}

const keptAside = 7 * 24 * time.Hour

// setAsideScript renames a key that has the given type. It keeps the key for a while, in
// case it is missed.
//
// KEYS[1] the key  KEYS[2] its new name
// ARGV[1] its type  ARGV[2] for how many seconds it is kept
var setAsideScript = redis.NewScript(`
if redis.call("TYPE", KEYS[1]).ok ~= ARGV[1] then
	return 0
end
redis.call("RENAME", KEYS[1], KEYS[2])
redis.call("EXPIRE", KEYS[2], ARGV[2])
return 1
`)

// setAside takes keys of a wrong type out of the way. What the right ones held, the reconciler
// finds like any other loss.
func (r *Reconciler) setAside(ctx context.Context, queue string, wrong []typedKey) error {
	r.divergent[queue][KindKey].add(len(wrong))
	var errs []error
	for _, k := range wrong {
		aside := asideKey(k.name)
		err := setAsideScript.Run(ctx, r.redis, []string{k.name, aside}, k.is, int(keptAside.Seconds())).Err()
		r.log.ErrorContext(
			ctx,
			"a key in redis has a wrong type, it is set aside",
			"key",
			k.name,
			"type",
			k.is,
			"want",
			k.want,
			"renamed_to",
			aside,
			"err",
			err,
		)
		if err != nil {
			errs = append(errs, fmt.Errorf("set a key of a wrong type aside: %w", err))
		}
	}
	return errors.Join(errs...)
}

// asideKey lies in the hash slot of the key, as a rename in a cluster must.
func asideKey(key string) string {
	if strings.Contains(key, "{") {
		return "waybill:aside:" + key
	}
	return "waybill:aside:{" + key + "}"
}

func keyFindings(queue string, wrong []typedKey) (out []Finding) {
	for _, k := range wrong {
		out = append(
			out,
			Finding{
				Kind:   KindKey,
				Queue:  queue,
				TaskID: k.name,
				What:   "the key is a " + k.is + ", it should be a " + k.want,
			},
		)
	}
	return out
}
