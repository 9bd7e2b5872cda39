package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/testenv/server"
)

// secondDeployment starts an API and a worker that have a database of their own and the Redis of
// this deployment. Both must refuse, and say why.
func secondDeployment(ctx context.Context, w *cluster) error {
	name := w.name + "_other"
	if err := w.s.sql(ctx, "postgres", fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template)); err != nil {
		return err
	}
	if err := w.s.sql(ctx, name, "UPDATE deployment SET id = gen_random_uuid()::text"); err != nil {
		return err
	}
	for _, role := range []string{"api", "worker"} {
		if err := w.refused(ctx, role, name); err != nil {
			return err
		}
	}
	return nil
}

// refused starts a process and waits until it ended with an error that names the cause.
func (w *cluster) refused(ctx context.Context, role, database string) error {
	port, err := server.FreePort()
	if err != nil {
		return err
	}
	addr, log := fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(w.dir, "other-"+role+".log")
	n := newNode(
		"other "+role,
		filepath.Join(w.s.bin, role),
		log,
		[]string{"DATABASE_URL=" + databaseURL(w.s.pg.Addr(), database),
			"REDIS_URL=" + w.redis.URL(), "WAYBILL_JWT_KEYS=" + jwtKeys, "WAYBILL_ADDR=" + addr,
			"WAYBILL_METRICS_ADDR=" + addr},
	)
	if err := n.start(); err != nil {
		return err
	}
	defer n.kill()
	if err := await(ctx, n.done, 30*time.Second, "the end of the "+n.name); err != nil {
		return err
	}
	text, err := os.ReadFile(log)
	if err == nil &&
		(n.cmd.ProcessState.ExitCode() == 0 ||
			!strings.Contains(string(text), "belongs to another Waybill deployment")) {
		err = fmt.Errorf("the %s ended with code %d: %.500s", n.name, n.cmd.ProcessState.ExitCode(), text)
	}
	return err
}
