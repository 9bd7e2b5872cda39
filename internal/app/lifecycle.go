package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/waybill/waybill/internal/loop"
	"github.com/waybill/waybill/internal/peer"
)

type logger = *slog.Logger

// service is a part of a process that runs until its context ends, and then until it has put
// everything away.
type service struct {
	name string
	run  func(ctx context.Context) error
	busy func() int // jobs that it runs; nil: it runs none
}

// stopLogInterval is how often a stopping process says what it waits for.
const stopLogInterval = 2 * time.Second

// runAll starts services in order and stops them in reverse, each only when the one before it in
// that order is gone. It stops when ctx ends or one of them returns, and answers the first error.
func runAll(ctx context.Context, log logger, services []service) error {
	ended := make(chan error, len(services))
	stops := make([]func(), len(services))
	for i, s := range services {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			ended <- wrapNamed(s.name, guarded(own, s.run))
		}()
		stops[i] = func() { cancel(); <-gone }
	}
	var err error
	select {
	case <-ctx.Done():
		log.Info("stopping", "running_jobs", running(services))
	case err = <-ended:
	}
	for i := len(stops) - 1; i >= 0; i-- {
		stop(log, services[i], stops[i])
	}
	close(ended)
	for e := range ended {
		err = errors.Join(err, e)
	}
	return err
}

// running counts the jobs that services run.
func running(services []service) (n int) {
	for _, s := range services {
		if s.busy != nil {
			n += s.busy()
		}
	}
	return n
}

// stop ends a service, and says so again and again while that takes time.
func stop(log logger, s service, stop func()) {
	gone := make(chan struct{})
	go func() { stop(); close(gone) }()
	news := time.NewTicker(stopLogInterval)
	defer news.Stop()
	for {
		select {
		case <-gone:
			return
		case <-news.C:
			log.Info("stopping", "waiting_for", s.name, "running_jobs", running([]service{s}))
		}
	}
}

func wrapNamed(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// guarded turns a panic into an error: one broken loop stops the process in order, it does not tear
// it down.
func guarded(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx)
}

// every makes a loop of a pass: jittered, its errors logged, alive until ctx ends.
func every(interval time.Duration, pass func(context.Context) error, log logger) func(context.Context) error {
	return func(ctx context.Context) error {
		for loop.Sleep(ctx, loop.Jitter(interval)) {
			if err := pass(ctx); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "periodic work failed", "err", err)
			}
		}
		return nil
	}
}

// silentGrace is how long a stopping server waits for a peer that neither sends the rest of its
// request nor takes its answer.
const silentGrace = 2 * time.Second

// serve answers HTTP on a listener that is open already, so that a taken port was found before
// anything started.
func serve(s *http.Server, l net.Listener, limits peer.Limits, grace time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		guard := peer.Protect(s, l, limits)
		failed := make(chan error, 1)
		go func() { failed <- s.Serve(guard) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		go func() {
			for loop.Sleep(last, silentGrace/4) {
				guard.CloseSilent(silentGrace)
			}
		}()
		if err := s.Shutdown(last); err != nil {
			return errors.Join(fmt.Errorf("requests were cut off: %w", err), s.Close())
		}
		return nil
	}
}

// listen opens a port, with an error that says what to do about it.
func listen(addr, variable string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (%s): %w", addr, variable, errors.Unwrap(err))
	}
	return l, nil
}
