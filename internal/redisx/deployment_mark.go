package redisx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/loop"
)

// markKey holds the id of the deployment whose tasks are in this Redis.
const markKey = "waybill:deployment"

// ErrOtherDeployment is why a process does not use a Redis: the tasks in it are another
// deployment's. Each would drop the other's tasks, since its ledger does not know their jobs.
var ErrOtherDeployment = errors.New("this Redis belongs to another Waybill deployment (REDIS_URL)")

// mark writes the id of a deployment where there is none, and answers the one that stands there.
//
// KEYS[1] the mark
// ARGV[1] the id of this deployment
var mark = redis.NewScript(`
local id = redis.pcall("GET", KEYS[1])
if type(id) == "string" and id ~= "" then
	return id
end
redis.call("SET", KEYS[1], ARGV[1])
return ARGV[1]
`)

// DeploymentMark is a key in Redis that holds the id of the deployment whose tasks are in it. An
// empty Redis, also one that lost its data, belongs to the first deployment that marks it.
type DeploymentMark struct {
	redis   redis.UniversalClient
	id      string
	log     *slog.Logger
	foreign atomic.Bool
}

// NewDeploymentMark makes the mark of the deployment with the given id, which its ledger keeps.
// Check writes it.
func NewDeploymentMark(client redis.UniversalClient, id string, log *slog.Logger) (*DeploymentMark, error) {
	if client == nil || id == "" || log == nil {
		return nil, errors.New("mark: a Redis client, the deployment's id and a logger are needed")
	}
	return &DeploymentMark{redis: client, id: id, log: log}, nil
}

// Check reads the mark, and writes it where there is none. It answers ErrOtherDeployment where it
// is another deployment's; any other error leaves it open whose it is.
func (m *DeploymentMark) Check(ctx context.Context) error {
	id, err := mark.Run(ctx, m.redis, []string{markKey}, m.id).Text()
	if err != nil {
		return fmt.Errorf("read the mark of the deployment in Redis: %w", err)
	}
	foreign := id != m.id
	if was := m.foreign.Swap(foreign); was != foreign {
		if foreign {
			m.log.ErrorContext(
				ctx,
				"redis belongs to another deployment: nothing is sent to it or taken from it",
				"key",
				markKey,
				"is",
				id,
				"want",
				m.id,
			)
		} else {
			m.log.WarnContext(ctx, "redis belongs to this deployment again")
		}
	}
	return m.Err()
}

// Err answers what the last Check found, without asking Redis: nil or ErrOtherDeployment.
func (m *DeploymentMark) Err() error {
	if m == nil || !m.foreign.Load() {
		return nil
	}
	return fmt.Errorf(
		"%w: its key %s holds another id than this database's table deployment (%s). Give each deployment a Redis, "+
			"or a database number, of its own. "+
			"If this database is to have it from now on, stop the other deployment and run `waybill fsck --take-over`",
		ErrOtherDeployment,
		markKey,
		m.id,
	)
}

// TakeOver marks Redis as this deployment's, also if it is another's. The watermarks of the queues
// were the other's: without them every job of this deployment is looked up, and sent if it is
// missing. Tasks of the other deployment are dropped as they are dequeued.
func (m *DeploymentMark) TakeOver(ctx context.Context, watermarkKeys []string) error {
	if err := m.redis.Set(ctx, markKey, m.id, 0).Err(); err != nil {
		return fmt.Errorf("take Redis over: %w", err)
	}
	for _, key := range watermarkKeys {
		if err := m.redis.Del(ctx, key).Err(); err != nil {
			return fmt.Errorf("take Redis over: %w", err)
		}
	}
	return m.Check(ctx)
}

const markEvery = time.Second

// Run checks the mark each second until ctx ends: Redis may be emptied, replaced or taken over at
// any time.
func (m *DeploymentMark) Run(ctx context.Context) error {
	for loop.Sleep(ctx, markEvery) {
		short, cancel := context.WithTimeout(ctx, 2*markEvery)
		_ = m.Check(short) // a Redis that does not answer is reported by those who need it
		cancel()
	}
	return nil
}
