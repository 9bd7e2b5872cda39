package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/testenv/server"
)

const (
	template = "chaos_template" // a database that is migrated, watched, and has an owner with an API key
	module   = "github.com/waybill/waybill/"
	email    = "chaos@example.com"
	password = "correct horse battery staple"
	jwtKeys  = "k1:Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtMTI=" // of a deployment that lives for seconds
)

// environment is what all faults share: the binaries, a PostgreSQL server, and the template of
// their databases.
type environment struct {
	o     options
	dir   string
	bin   string
	pg    *server.Postgres
	clock *server.Clock // of PostgreSQL
	key   string        // an API key
	plays int
}

func newEnvironment(ctx context.Context, o options) (*environment, error) {
	dir, err := os.MkdirTemp("", "waybill-chaos-")
	if err != nil {
		return nil, err
	}
	s := &environment{o: o, dir: dir, bin: o.bin}
	if s.bin == "" {
		s.bin = filepath.Join(dir, "bin")
		err = s.build(ctx)
	}
	if err == nil {
		s.clock, err = server.NewClock()
	}
	if err == nil {
		// As a deployment would run: every commit reaches the disk, and a crash is recovered from.
		s.pg, err = server.StartPostgresBy(
			s.clock,
			"fsync=on",
			"full_page_writes=on",
			"max_connections=120",
			"log_min_messages=fatal",
		)
	}
	if err == nil {
		err = s.makeTemplate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *environment) build(ctx context.Context) error {
	args := []string{"build", "-o", s.bin + string(filepath.Separator)}
	if s.o.race {
		args = append(args, "-race")
	}
	for _, p := range []string{"cmd/api", "cmd/worker", "cmd/waybill", "chaos/poisonworker"} {
		args = append(args, module+p)
	}
	if err := os.MkdirAll(s.bin, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the processes: %w\n%s", err, out)
	}
	return nil
}

func (s *environment) close() error {
	var err error
	if s.pg != nil {
		err = s.pg.Close()
	}
	if s.clock != nil {
		err = errors.Join(err, s.clock.Close())
	}
	if s.o.keep {
		fmt.Fprintln(os.Stderr, "logs kept in", s.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// databaseURL leads to a database at an address: the server's own, or a link's.
func databaseURL(addr, name string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", addr, name)
}

func (s *environment) makeTemplate(ctx context.Context) error {
	if err := s.sql(ctx, "postgres", "CREATE DATABASE "+template); err != nil {
		return err
	}
	if _, err := s.waybill(ctx, template, "", "", "migrate", "up"); err != nil {
		return err
	}
	if _, err := s.waybill(ctx, template, "", password, "admin", "create", "--email", email,
		"--password-stdin"); err != nil {
		return err
	}
	if err := s.sql(ctx, template, historySQL); err != nil {
		return err
	}
	return s.makeKey(ctx)
}

// makeKey signs in through an API that lives for a moment, and keeps an API key.
func (s *environment) makeKey(ctx context.Context) error {
	redis, err := server.StartRedis()
	if err != nil {
		return err
	}
	defer redis.Close()
	port, err := server.FreePort()
	if err != nil {
		return err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	n := newNode("key-maker", filepath.Join(s.bin, "api"), filepath.Join(s.dir, "key-maker.log"), []string{
		"DATABASE_URL=" + databaseURL(s.pg.Addr(), template), "REDIS_URL=" + redis.URL(), "WAYBILL_JWT_KEYS=" + jwtKeys,
		fmt.Sprintf("WAYBILL_ADDR=127.0.0.1:%d", port)})
	if err := n.start(); err != nil {
		return err
	}
	defer n.stop(10 * time.Second)
	if err := awaitReady(ctx, base, true, 30*time.Second); err != nil {
		return fmt.Errorf("%w\n%s", err, n.logTail())
	}
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := call(ctx, http.MethodPost, base+"/v1/auth/login", "",
		fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), &tokens); err != nil {
		return err
	}
	var made struct {
		Key string `json:"key"`
	}
	err = call(
		ctx,
		http.MethodPost,
		base+"/v1/api-keys",
		tokens.Access,
		`{"name":"chaos","scopes":["jobs:read","jobs:write","queues:read","queues:write"]}`,
		&made,
	)
	s.key = made.Key
	return err
}

// waybill runs the operator's command and answers what it printed.
func (s *environment) waybill(ctx context.Context, database, redisURL, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "waybill"), args...)
	cmd.Env = []string{"DATABASE_URL=" + databaseURL(s.pg.Addr(), database), "REDIS_URL=" + redisURL}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("waybill %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func (s *environment) sql(ctx context.Context, database, text string) error {
	conn, err := pgx.Connect(ctx, databaseURL(s.pg.Addr(), database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, text)
	return err
}
