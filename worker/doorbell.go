package worker

import (
	"sync"
	"time"
)

// asynq polls: each of its servers asks Redis for every queue, sleeps, and asks again, so that an idle worker either costs Redis much or picks
// work up late. The doorbell stands between: a queue that was found empty is not asked again until its bell rings (dispatch publishes
// one message after it sent something) or pollEvery has passed.
const (
	pollEvery    = time.Second            // a bell can be lost; a poll finds what it announced
	forwardEvery = 500 * time.Millisecond // how often due tasks are moved to their queues, for the whole process
	errorPause   = 250 * time.Millisecond // before asking a Redis again that does not answer
)

// doorbell knows which queues are worth asking.
type doorbell struct {
	mu     sync.Mutex
	queues map[string]*gate
	zsets  map[string]time.Time // when due tasks of a sorted set were last moved
	wake   chan struct{}        // closed and replaced at every ring
	closed bool
}

type gate struct {
	rings   uint64 // bells so far
	empty   bool   // found empty, and no bell since
	emptyAt time.Time
}

func newDoorbell() *doorbell {
	return &doorbell{queues: map[string]*gate{}, zsets: map[string]time.Time{}, wake: make(chan struct{})}
}

func (d *doorbell) gate(queue string) *gate {
	g := d.queues[queue]
	if g == nil {
		g = &gate{}
		d.queues[queue] = g
	}
	return g
}

// ring says that a queue may have work; the empty name stands for all of them.
func (d *doorbell) ring(queue string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, g := range d.queues {
		if queue == "" || queue == name {
			g.rings++
			g.empty = false
		}
	}
	d.wakeAll()
}

func (d *doorbell) wakeAll() {
	close(d.wake)
	d.wake = make(chan struct{})
}

// close lets nobody wait any more: the process stops.
func (d *doorbell) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.wakeAll()
}

// worthAsking reports whether a queue may have work, and how often its bell rang before that.
func (d *doorbell) worthAsking(queue string) (rings uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gate(queue)
	if g.empty && time.Since(g.emptyAt) < pollEvery {
		return 0, false
	}
	if g.empty {
		g.emptyAt = time.Now() // this caller asks for all
	}
	return g.rings, true
}

// foundEmpty shuts the gate, unless the bell rang since the asking began.
func (d *doorbell) foundEmpty(queue string, rings uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.gate(queue); g.rings == rings {
		g.empty, g.emptyAt = true, time.Now()
	}
}

// wait returns when a bell rings or the next poll is due. A bell that rang after the asking began is not missed: wake is taken
// under the lock that also sees whether every gate is still shut.
func (d *doorbell) wait(queues map[string]bool) {
	d.mu.Lock()
	wake, next := d.wake, pollEvery
	for name := range queues {
		g := d.gate(name)
		if !g.empty || d.closed {
			d.mu.Unlock()
			return
		}
		next = min(next, pollEvery-time.Since(g.emptyAt))
	}
	d.mu.Unlock()
	timer := time.NewTimer(max(next, time.Millisecond))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	}
}

// pause waits a while, or until the process stops.
func (d *doorbell) pause(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		d.mu.Lock()
		wake, closed := d.wake, d.closed
		d.mu.Unlock()
		if closed {
			return
		}
		select {
		case <-wake:
		case <-timer.C:
			return
		}
	}
}

// mayForward lets the due tasks of a sorted set be moved once in forwardEvery.
func (d *doorbell) mayForward(zset string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.zsets[zset]) < forwardEvery {
		return false
	}
	d.zsets[zset] = time.Now()
	return true
}

// forwardAgain lets the next one through at once: a script moves a hundred at most.
func (d *doorbell) forwardAgain(zset string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.zsets, zset)
}
