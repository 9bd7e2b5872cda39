package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/chaos/proxy"
)

// faults lists everything that is broken, in the order of docs/durability.md.
func faults() []fault {
	return []fault{
		{
			name:    "api-killed",
			about:   "API killed before commit, after commit, after sending",
			short:   true,
			apiDies: true,
			strike:  killAPI,
		},
		{
			name:       "worker-killed",
			about:      "workers killed before Claim, after it, in handlers, after Settle",
			short:      true,
			workers:    5,
			interrupts: 4,
			strike:     killWorkers,
		},
		{
			name:       "worker-churn",
			about:      "one worker in four killed again and again",
			workers:    4,
			interrupts: 4,
			strike:     churnWorkers,
		},
		{
			name:       "worker-frozen",
			about:      "a worker stopped (SIGSTOP) until others took its jobs, and come back",
			interrupts: 1,
			strike:     freezeWorker,
		},
		{
			name:       "rolling-restart",
			about:      "every process restarted under handlers longer than the grace period",
			apiDies:    true,
			interrupts: 4,
			strike:     rollingRestart,
		},
		{
			name:    "hostile-handlers",
			about:   "handlers that panic, block for ever, end their goroutine, fail with a megabyte of garbage",
			hostile: true,
			strike:  hostileHandlers,
			check:   putIntoWords,
		},
		{
			name:       "poison",
			about:      "payloads that end or starve their worker each time",
			hostile:    true,
			workers:    3,
			interrupts: 10,
			drain:      60 * time.Second,
			strike:     poison,
			check:      quarantined,
		},
		{name: "redis-killed", about: "Redis killed and started with its append-only file", strike: killRedis},
		{
			name:   "redis-tail-lost",
			about:  "Redis killed and started with half of its append-only file",
			short:  true,
			strike: loseTail,
		},
		{
			name:   "redis-flushed",
			about:  "FLUSHALL with a backlog, just as a reconciler raises the watermark",
			short:  true,
			strike: flushRedis,
		},
		{name: "redis-replaced", about: "Redis replaced by an empty one", strike: replaceRedis},
		{name: "redis-frozen", about: "Redis stopped (SIGSTOP) for 10 s", strike: freezeRedis},
		{name: "redis-down", about: "Redis down for a while", strike: redisDown},
		{name: "redis-errors", about: "Redis answers READONLY, LOADING, MISCONF, OOM", strike: redisErrors},
		{name: "redis-full", about: "a flood fills Redis to its maxmemory", drain: 90 * time.Second, strike: fillRedis},
		{
			name:       "replies-lost",
			about:      "replies of Redis lost after the command ran, at every step",
			short:      true,
			interrupts: 0,
			strike:     loseReplies,
		},
		{
			name:       "postgres-crashed",
			about:      "PostgreSQL stopped at once and started again",
			short:      true,
			refuses:    true,
			interrupts: 1,
			strike:     crashPostgres,
		},
		{
			name:       "postgres-frozen",
			about:      "PostgreSQL stopped (SIGSTOP) until every worker looks dead",
			refuses:    true,
			interrupts: 1,
			strike:     freezePostgres,
		},
		{
			name:       "postgres-troubled",
			about:      "connections cut, none to be had, tables locked until statements time out",
			refuses:    true,
			interrupts: 3,
			strike:     troublePostgres,
		},
		{
			name:       "commit-unknown",
			about:      "PostgreSQL's answers lost after the commit",
			refuses:    true,
			interrupts: 3,
			strike:     loseCommits,
		},
		{
			name:       "slow-links",
			about:      "50 ms, 200 ms, 1 s to Redis and to PostgreSQL",
			refuses:    true,
			interrupts: 3,
			drain:      60 * time.Second,
			strike:     slowLinks,
		},
		{
			name:       "partitions",
			about:      "API and worker cut off from Redis and from PostgreSQL in turn",
			refuses:    true,
			interrupts: 3,
			strike:     partitions,
		},
		{
			name:   "behind-our-back",
			about:  "tasks archived, deleted and run, a queue paused in Redis by hand",
			strike: meddle,
			check:  meddled,
		},
		{
			name:       "redis-keys-lost",
			about:      "lists, sets and tasks deleted one by one, keys made of another type",
			interrupts: 1,
			drain:      60 * time.Second,
			strike:     loseKeys,
		},
		{
			name:       "database-read-only",
			about:      "the database made read-only for some seconds",
			short:      true,
			refuses:    true,
			interrupts: 1,
			strike:     readOnlyDatabase,
		},
		{
			name:   "columns-added",
			about:  "a column added to every table, as a newer release's migration would",
			short:  true,
			strike: addColumns,
			check:  ticked,
		},
		{
			name:       "odd-errors",
			about:      "SQL errors of rare classes at every table of jobs",
			refuses:    true,
			interrupts: 1,
			drain:      60 * time.Second,
			strike:     oddErrors,
		},
		{
			name:   "second-deployment",
			about:  "API and worker of another database started on the same Redis",
			strike: secondDeployment,
		},
		{
			name:   "open-transaction",
			about:  "FLUSHALL while another program holds a transaction open",
			strike: flushUnderTransaction,
		},
		{
			name:       "worker-without-ledger",
			about:      "one of two workers cut off from PostgreSQL only",
			interrupts: 1,
			strike:     worksElsewhere,
		},
		{
			name:   "unknown-types",
			about:  "task types that only one of two workers knows",
			mixed:  true,
			drain:  60 * time.Second,
			strike: ownTypes,
			check:  firstAttempts,
		},
		{
			name:    "pgbouncer",
			about:   "PgBouncer in session mode before PostgreSQL",
			bouncer: true,
			strike:  throughBouncer,
		},
		{
			name:   "slow-peers",
			about:  "hundreds of half requests, held bodies and peers that never read",
			strike: slowPeers,
		},
		{
			name:   "clocks-differ",
			about:  "the clocks of PostgreSQL and of Redis step forward and back, each for itself",
			clocks: true,
			drain:  60 * time.Second,
			strike: stepClocks,
		},
		{
			name:       "stop-in-outage",
			about:      "API and a worker asked to end while Redis, then PostgreSQL, is down",
			apiDies:    true,
			refuses:    true,
			interrupts: 3,
			strike:     stopInOutage,
		},
		{
			name:    "overload",
			about:   "more than the machine can do",
			refuses: true,
			drain:   120 * time.Second,
			strike:  overload,
			check:   bounded,
		},
		{
			name:       "storm",
			about:      "one thing after another, by the seed's choice",
			workers:    3,
			apiDies:    true,
			refuses:    true,
			interrupts: 12,
			drain:      60 * time.Second,
			strike:     storm,
		},
	}
}

// Statements as they stand in package store, by what only they hold.
func isInsert(sql string) bool { return strings.Contains(sql, "INSERT INTO submissions ") }
func isClaim(sql string) bool  { return strings.Contains(sql, "SET state = 'active'") }
func isSettle(sql string) bool { return strings.Contains(sql, "settled_attempt < u.attempt") }

// A task is sent to Redis.
func isEnqueue(command string) bool { return command == "EVALSHA pending,t" }

// on lets the first message that matches be dealt with by act, whose verdict it gets. What is
// answered is closed then.
func on(l *proxy.Link, moment proxy.Moment, match func(string) bool, act func() proxy.Verdict) <-chan struct{} {
	fallen := make(chan struct{})
	var once sync.Once
	l.Watch(func(e proxy.Event) (v proxy.Verdict) {
		if e.Moment == moment && match(e.What) {
			once.Do(func() {
				v = act()
				close(fallen)
			})
		}
		return v
	})
	return fallen
}

// killAt kills m with -9 when a message that matches passes; the message is swallowed.
func killAt(ctx context.Context, m *member, l *proxy.Link, moment proxy.Moment, match func(string) bool) error {
	defer l.Watch(nil)
	fallen := on(l, moment, match, func() proxy.Verdict {
		m.kill()
		return proxy.Verdict{Cut: true}
	})
	return await(ctx, fallen, 15*time.Second, "the moment at which to kill "+m.name)
}

func await(ctx context.Context, done <-chan struct{}, patience time.Duration, what string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("not within %v: %s", patience, what)
	}
}

// during is how long an outage lasts: s, or with -long what FAULTS asks for.
func (w *cluster) during(usual, long time.Duration) time.Duration {
	if w.s.o.long {
		return long
	}
	return usual
}

// readyTurns holds /readyz to turning within ten seconds.
func (w *cluster) readyTurns(ctx context.Context, to bool) error {
	return awaitReady(ctx, w.client.base, to, 10*time.Second)
}
