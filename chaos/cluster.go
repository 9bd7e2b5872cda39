package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/testenv/server"
)

const (
	connsEach   = 10 // connections of one process to PostgreSQL, and
	connsHot    = 7  // those for its hot writes
	grace       = 3 * time.Second
	cancelGrace = time.Second
	// exitWithin is how long a process may take after SIGTERM: its grace periods, the last
	// settlements, and the machine's slowness.
	exitWithin = grace + cancelGrace + 8*time.Second
)

var queues = []string{"critical", "default", "low"}

// member is a process with the lines on which it reaches its servers.
type member struct {
	*node
	pg, redis *proxy.Link
	watch     string  // host:port of /metrics
	calm      float64 // goroutines before the load, of the process with calmPID
	calmPID   int
}

func (m *member) links() []*proxy.Link { return []*proxy.Link{m.pg, m.redis} }

// cluster is all that one fault is played on.
type cluster struct {
	s       *environment
	f       fault
	dir     string
	name    string // of the database
	pool    *pgxpool.Pool
	bouncer *server.PgBouncer // nil: processes reach PostgreSQL directly
	redis   *server.Redis
	clock   *server.Clock // of Redis; nil: the machine's
	rdb     *redis.Client
	sink    *receiver
	book    *recorder
	client  *client
	front   *proxy.Link // clients reach the API through it
	api     *member
	workers []*member
	memory  int64 // that Redis used when nothing had happened

	mu     sync.Mutex
	load   *load
	notes  []string
	struck time.Time
	healed time.Time
}

func (s *environment) newCluster(ctx context.Context, f fault) (*cluster, error) {
	s.plays++
	w := &cluster{
		s:    s,
		f:    f,
		name: fmt.Sprintf("chaos_%d", s.plays),
		dir:  filepath.Join(s.dir, f.name),
		book: newRecorder(),
	}
	err := errors.Join(
		os.MkdirAll(w.dir, 0o755),
		s.sql(ctx, "postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", w.name, template)),
	)
	if err == nil {
		err = w.open(ctx)
	}
	if err == nil {
		err = w.startAll(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *cluster) open(ctx context.Context) (err error) {
	if w.pool, err = pgxpool.New(ctx, databaseURL(w.s.pg.Addr(), w.name)+
		"&pool_max_conns=4&application_name=chaos"); err != nil {
		return err
	}
	if w.f.bouncer {
		if w.bouncer, err = server.StartPgBouncer(databaseURL(w.s.pg.Addr(), w.name),
			"pool_mode = session"); err != nil {
			return err
		}
	}
	args := append(
		[]string{"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"},
		w.f.redis...)
	if w.f.clocks {
		if w.clock, err = server.NewClock(); err != nil {
			return err
		}
	}
	if w.redis, err = server.StartRedisBy(w.clock, args...); err != nil {
		return err
	}
	w.rdb = redis.NewClient(&redis.Options{Addr: w.redis.Addr(), MaxRetries: 2})
	w.sink, err = newReceiver()
	return err
}

func (w *cluster) startAll(ctx context.Context) (err error) {
	port, err := server.FreePort()
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if w.front, err = proxy.New(addr, nil); err != nil {
		return err
	}
	if w.api, err = w.member("api", addr, "WAYBILL_ADDR="+addr, "WAYBILL_JWT_KEYS="+jwtKeys); err != nil {
		return err
	}
	for i := range w.f.workerCount() {
		port, err := server.FreePort()
		if err != nil {
			return err
		}
		watch := fmt.Sprintf("127.0.0.1:%d", port)
		m, err := w.member(fmt.Sprintf("worker%d", i+1), watch, "WAYBILL_METRICS_ADDR="+watch, "WAYBILL_CONCURRENCY=48")
		if err != nil {
			return err
		}
		w.workers = append(w.workers, m)
	}
	for _, m := range w.members() {
		if err := m.start(); err != nil {
			return err
		}
	}
	base := "http://" + w.front.Addr()
	w.client = newClient(base, w.s.key, w.book)
	w.client.mayDie, w.client.mayRefuse = w.f.apiDies, w.f.refuses
	if err := awaitReady(ctx, base, true, 30*time.Second); err != nil {
		return fmt.Errorf("%w\n%s", err, w.api.logTail())
	}
	if err := w.awaitWorkers(ctx, len(w.workers)); err != nil {
		return fmt.Errorf("%w\n%s", err, w.workers[0].logTail())
	}
	if w.memory, err = w.usedMemory(ctx); err != nil {
		return err
	}
	return w.calmDown(ctx)
}

// member makes a process of the given kind with lines of its own.
func (w *cluster) member(name, watch string, env ...string) (m *member, err error) {
	m = &member{watch: watch}
	if m.pg, err = proxy.New(w.pgAddr(), proxy.Postgres); err != nil {
		return nil, err
	}
	if m.redis, err = proxy.New(w.redis.Addr(), proxy.Redis); err != nil {
		return nil, err
	}
	binary, role := "worker", "worker"
	if name == "api" {
		binary, role = "api", "api"
	}
	var args []string
	if w.f.hostile || w.f.mixed && name != "worker1" {
		binary, args = "poisonworker", []string{role}
	}
	env = append(
		env,
		"DATABASE_URL="+databaseURL(m.pg.Addr(), w.name),
		"REDIS_URL=redis://"+m.redis.Addr()+"/0",
		"WAYBILL_HTTP_ALLOW=127.0.0.0/8",
		fmt.Sprintf("WAYBILL_DATABASE_MAX_CONNS=%d", connsEach),
		"WAYBILL_LOG_FORMAT=text",
		"WAYBILL_SHUTDOWN_GRACE="+grace.String(),
		"WAYBILL_CANCEL_GRACE="+cancelGrace.String(),
		"GOTRACEBACK=all",
	)
	m.node = newNode(name, filepath.Join(w.s.bin, binary), filepath.Join(w.dir, name+".log"), env, args...)
	m.onExit = w.diedByItself
	return m, nil
}

// pgAddr is where processes reach PostgreSQL.
func (w *cluster) pgAddr() string {
	if w.bouncer != nil {
		return w.bouncer.Addr()
	}
	return w.s.pg.Addr()
}

func (w *cluster) members() []*member { return append([]*member{w.api}, w.workers...) }

// diedByItself is a breach, unless the fault is a payload that kills its worker: then it is started
// again, as a deployment would.
func (w *cluster) diedByItself(n *node, state string) {
	if !w.f.hostile || n == w.api.node {
		w.book.complain("%s ended by itself: %s; its log ends:\n%s", n.name, state, n.logTail())
		return
	}
	w.note("worker deaths")
	time.AfterFunc(500*time.Millisecond, func() {
		if err := n.start(); err != nil {
			w.book.complain("%s could not be started again: %v", n.name, err)
		}
	})
}

// awaitWorkers waits until so many workers beat.
func (w *cluster) awaitWorkers(ctx context.Context, n int) error {
	return w.eventually(ctx, 30*time.Second, func() (bool, error) {
		var beating int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM workers WHERE beat_at > now() - interval '3 seconds' AND "+
			"NOT stopping").
			Scan(&beating)
		return beating >= n, err
	}, "%d workers beat", n)
}

func (w *cluster) eventually(
	ctx context.Context,
	patience time.Duration,
	ok func() (bool, error),
	format string,
	args ...any,
) error {
	deadline := time.Now().Add(patience)
	for {
		done, err := ok()
		if done && err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s (%v)", patience, fmt.Sprintf(format, args...), err)
		}
		if !loop.Sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (w *cluster) usedMemory(ctx context.Context) (int64, error) {
	info, err := w.rdb.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	var used int64
	_, err = fmt.Sscan(info["Memory"]["used_memory"], &used)
	return used, err
}

// note counts something that happened, for the table.
func (w *cluster) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, what)
}

func (w *cluster) close() error {
	var errs []error
	if w.api != nil {
		for _, m := range w.members() {
			m.onExit = nil
			m.kill()
			for _, l := range m.links() {
				l.Close()
			}
		}
	}
	if w.front != nil {
		w.front.Close()
	}
	if w.sink != nil {
		w.sink.close()
	}
	if w.rdb != nil {
		_ = w.rdb.Close()
	}
	if w.redis != nil {
		errs = append(errs, w.redis.Close())
	}
	if w.clock != nil {
		errs = append(errs, w.clock.Close())
	}
	if w.bouncer != nil {
		errs = append(errs, w.bouncer.Close())
	}
	if w.pool != nil {
		w.pool.Close()
	}
	return errors.Join(errs...)
}
