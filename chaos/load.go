package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

const (
	tick      = 20 * time.Millisecond
	inFlight  = 400 // clients at once; a slower API gets less, as from real clients
	batchSize = 25
	batchEach = 40 // orders; every so often a batch is sent
)

// load puts orders on the API at a rate until it is stopped; its clients then go on until they have
// their answers.
type load struct {
	c     *client
	mix   *mix
	rate  atomic.Int64 // jobs a second
	stopC chan struct{}
	once  sync.Once
	slots chan struct{}
	ends  context.CancelFunc // the clients' patience
	ctx   context.Context
	wg    sync.WaitGroup
}

func startLoad(ctx context.Context, c *client, m *mix, rate int) *load {
	l := &load{c: c, mix: m, stopC: make(chan struct{}), slots: make(chan struct{}, inFlight)}
	l.rate.Store(int64(rate))
	l.ctx, l.ends = context.WithCancel(ctx)
	l.wg.Go(l.run)
	return l
}

// stop ends the load and waits for the clients; those that have no answer by then give up, their
// jobs' fate unknown to them.
func (l *load) stop(patience time.Duration) {
	l.once.Do(func() { close(l.stopC) })
	timer := time.AfterFunc(patience, l.ends)
	l.wg.Wait()
	timer.Stop()
	l.ends()
}

func (l *load) run() {
	every := time.NewTicker(tick)
	defer every.Stop()
	due := 0.0
	for sent := 0; ; {
		select {
		case <-l.stopC:
			return
		case <-l.ctx.Done():
			return
		case <-every.C:
		}
		for due += float64(l.rate.Load()) * tick.Seconds(); due >= 1; due-- {
			sent++
			if sent%batchEach == 0 {
				l.batch(sent)
				due -= batchSize
			} else {
				l.one(l.mix.next())
			}
		}
	}
}

// spawn runs a client if there is room for one.
func (l *load) spawn(f func()) bool {
	select {
	case l.slots <- struct{}{}:
	default:
		return false
	}
	l.wg.Go(func() {
		defer func() { <-l.slots }()
		f()
	})
	return true
}

func (l *load) one(o *order) {
	l.c.book.add(o)
	if o.twice {
		l.spawn(func() { l.c.submit(l.ctx, o) })
	}
	l.spawn(func() {
		if l.c.submit(l.ctx, o) {
			l.after(o)
		}
	})
}

// after is what a client does with a job that it was promised.
func (l *load) after(o *order) {
	if o.cancelAfter > 0 && loop.Sleep(l.ctx, o.cancelAfter) {
		l.c.cancel(l.ctx, o)
	}
	if o.waits || o.anew {
		l.c.await(l.ctx, o)
	}
	if o.anew && l.ctx.Err() == nil {
		l.c.readState(l.ctx, http.MethodPost, "/v1/jobs/"+o.ids[0]+"/retry", o, false)
	}
}

func (l *load) batch(n int) {
	list := make([]*order, batchSize)
	for i := range list {
		list[i] = l.mix.next()
		list[i].key, list[i].cancelAfter, list[i].waits, list[i].twice, list[i].anew = "", 0, false, false, false
	}
	l.c.book.add(list...)
	l.spawn(func() { l.c.submitAll(l.ctx, fmt.Sprintf("batch-%d", n), list) })
}
