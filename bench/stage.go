package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/bench"
	"github.com/waybill/waybill/internal/testenv/server"
)

const (
	email    = "bench@example.com"
	password = "correct horse battery staple"
	jwtKeys  = "k1:YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMTI=" // of a deployment that lives for minutes
	ready    = 30 * time.Second
	// fresh is for how long a token is used; it is good for three times as long.
	fresh = 5 * time.Minute
)

// stage is a deployment of one api and one worker with servers of its own, and the peers' servers.
type stage struct {
	o           options
	dir         string
	pg          *server.Postgres
	redis       *server.Redis
	asynqRedis  *server.Redis // its own, so that nothing of ours is counted as asynq's
	api, worker *process
	url         string
	workerURL   string
	postmaster  int
	token       string
	signedIn    time.Time
	filled      int64 // since when, in Unix milliseconds, there are finished jobs that no measurement made
}

func newStage(ctx context.Context, o options) (s *stage, err error) {
	s = &stage{o: o}
	if s.dir, err = os.MkdirTemp("", "waybill-bench-"); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{s.startServers, s.build, s.prepare, s.startWaybill} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *stage) close() (err error) {
	for _, p := range []*process{s.worker, s.api} {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}
	for _, r := range []*server.Redis{s.redis, s.asynqRedis} {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
	}
	if s.pg != nil {
		err = errors.Join(err, s.pg.Close())
	}
	if s.o.keep {
		s.o.Log("logs are kept in " + s.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// startServers comes first: it says at once what is not installed.
func (s *stage) startServers(context.Context) (err error) {
	for _, r := range []**server.Redis{&s.redis, &s.asynqRedis} {
		if *r, err = server.StartRedis("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy",
			"noeviction"); err != nil {
			return err
		}
	}
	s.pg, err = server.StartPostgres(
		"fsync=on",
		"full_page_writes=on",
		"synchronous_commit=on",
		"log_min_messages=fatal",
	)
	return err
}

func (s *stage) bin(name string) string { return filepath.Join(s.dir, "bin", name) }

func (s *stage) build(ctx context.Context) error {
	for dir, packages := range map[string][]string{s.o.dir: {"./cmd/api", "./cmd/worker", "./cmd/waybill"},
		filepath.Join(s.o.dir, "bench"): {"./asynq", "./river"}} {
		cmd := exec.CommandContext(
			ctx,
			"go",
			slices.Concat(
				[]string{
					"build",
					"-trimpath",
					"-tags",
					"nomsgpack,nosqlite",
					"-o",
					s.bin("") + string(filepath.Separator),
				},
				packages,
			)...)
		cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "CGO_ENABLED=0") // as in the images
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	return nil
}

// database leads to one of the server's databases.
func (s *stage) database(name string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.pg.Addr(), name)
}

func (s *stage) env(more ...string) []string {
	return append([]string{"DATABASE_URL=" + s.database("waybill"), "REDIS_URL=" + s.redis.URL()}, more...)
}

// prepare makes the databases and an administrator.
func (s *stage) prepare(ctx context.Context) (err error) {
	for _, name := range []string{"waybill", "river"} {
		if err := s.sql(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
			return err
		}
	}
	if s.postmaster, err = bench.Postmaster(ctx, s.database("waybill")); err != nil {
		s.o.Log("PostgreSQL's CPU time is not counted: " + err.Error())
	}
	for _, args := range [][]string{{"migrate", "up"}, {"admin", "create", "--email", email, "--password-stdin"}} {
		cmd := exec.CommandContext(ctx, s.bin("waybill"), args...)
		cmd.Env, cmd.Stdin = s.env(), strings.NewReader(password)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("waybill %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// startWaybill runs api and worker in their default settings but for the quotas, which keep one
// user from taking what is measured here.
func (s *stage) startWaybill(ctx context.Context) error {
	ports := [2]int{}
	for i := range ports {
		var err error
		if ports[i], err = server.FreePort(); err != nil {
			return err
		}
	}
	s.url, s.workerURL = fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	s.api = newProcess(
		s.bin("api"),
		filepath.Join(s.dir, "api.log"),
		s.env("WAYBILL_ADDR="+strings.TrimPrefix(s.url, "http://"), "WAYBILL_JWT_KEYS="+jwtKeys,
			"WAYBILL_RATE_PER_SECOND=10000000", "WAYBILL_MAX_OPEN_JOBS=100000000"),
	)
	s.worker = newProcess(
		s.bin("worker"),
		filepath.Join(s.dir, "worker.log"),
		s.env("WAYBILL_METRICS_ADDR="+strings.TrimPrefix(s.workerURL, "http://")),
	)
	for p, url := range map[*process]string{s.api: s.url + "/readyz", s.worker: s.workerURL + "/readyz"} {
		if err := p.start(); err != nil {
			return err
		}
		if err := p.await(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) sql(ctx context.Context, database, text string) error {
	conn, err := pgx.Connect(ctx, s.database(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, text)
	return err
}

// about says what was measured on.
func (s *stage) about(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, s.database("postgres"))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var pg string
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&pg); err != nil {
		return "", err
	}
	c := redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
	defer c.Close()
	info, err := c.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(
		"%d cores, %s, PostgreSQL %s, Redis %s, %s",
		runtime.NumCPU(),
		runtime.GOOS,
		pg,
		info["Server"]["redis_version"],
		runtime.Version(),
	), nil
}

// signIn answers an access token: a JWT, like the one that bare asynq's API checks.
func (s *stage) signIn(ctx context.Context) (string, error) {
	if time.Since(s.signedIn) < fresh {
		return s.token, nil
	}
	var t struct {
		Access string `json:"access_token"`
	}
	if err := call(ctx, http.MethodPost, s.url+"/v1/auth/login", "",
		fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), &t); err != nil {
		return "", err
	}
	s.token, s.signedIn = t.Access, time.Now()
	return s.token, nil
}

func (s *stage) deployment() bench.Deployment {
	return bench.Deployment{
		URL:        s.url,
		Token:      s.signIn,
		Queue:      "default",
		API:        []string{s.url + "/metrics"},
		Workers:    []string{s.workerURL + "/metrics"},
		RedisURL:   s.redis.URL(),
		Postmaster: s.postmaster,
	}
}

// systems are Waybill and the peers that were asked for.
func (s *stage) systems() (list []bench.System, end func(), err error) {
	ours, end, err := bench.Waybill(s.o.Config, s.deployment())
	if err != nil {
		return nil, nil, err
	}
	list = []bench.System{ours}
	if slices.Contains(s.o.peers, "asynq") {
		peers, close, err := bench.Asynq(s.o.Config, s.asynqRedis.URL(), s.bin("asynq"))
		if err != nil {
			end()
			return nil, nil, err
		}
		list = append(list, peers...)
		first := end
		end = func() { close(); first() }
	}
	if slices.Contains(s.o.peers, "river") {
		list = append(list, s.river()...)
	}
	return list, end, nil
}
