package asynqredis

import (
	"sync"
	"time"
)

const (
	pollInterval = time.Second // a notification can be lost; a poll finds the task that it announced
	// ForwardInterval is how often a process moves due tasks to their queues.
	ForwardInterval = 500 * time.Millisecond
	errorPause      = 250 * time.Millisecond // before Redis is asked again after an error
)

// QueueNotifier knows which queues may have work. asynq's servers poll: each asks Redis for every
// queue, sleeps, and asks again, so that an idle worker either loads Redis or picks work up late.
// With the notifier, a queue that was found empty is not asked again until it is notified (the
// process that enqueues a task publishes one message on WakeUpChannel) or until pollInterval has
// passed.
type QueueNotifier struct {
	mu     sync.Mutex
	queues map[string]*queueState
	zsets  map[string]time.Time // when due tasks of a sorted set were last moved
	wake   chan struct{}        // closed and replaced at every notification
	closed bool
}

type queueState struct {
	notified uint64 // notifications so far
	empty    bool   // found empty, and no notification since
	emptyAt  time.Time
}

// NewQueueNotifier makes one.
func NewQueueNotifier() *QueueNotifier {
	return &QueueNotifier{
		queues: map[string]*queueState{},
		zsets:  map[string]time.Time{},
		wake:   make(chan struct{}),
	}
}

func (n *QueueNotifier) state(queue string) *queueState {
	q := n.queues[queue]
	if q == nil {
		q = &queueState{}
		n.queues[queue] = q
	}
	return q
}

// Notify says that a queue may have work. The empty name stands for all queues.
func (n *QueueNotifier) Notify(queue string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, q := range n.queues {
		if queue == "" || queue == name {
			q.notified++
			q.empty = false
		}
	}
	n.wakeAll()
}

func (n *QueueNotifier) wakeAll() {
	close(n.wake)
	n.wake = make(chan struct{})
}

// Close ends every wait, now and later: the process stops.
func (n *QueueNotifier) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.wakeAll()
}

// worthAsking reports whether a queue may have work, and how many notifications it has had.
func (n *QueueNotifier) worthAsking(queue string) (notified uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.state(queue)
	if q.empty && time.Since(q.emptyAt) < pollInterval {
		return 0, false
	}
	if q.empty {
		q.emptyAt = time.Now() // this caller asks for all
	}
	return q.notified, true
}

// foundEmpty notes that a queue is empty, unless it was notified since worthAsking was called.
func (n *QueueNotifier) foundEmpty(queue string, notified uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if q := n.state(queue); q.notified == notified {
		q.empty, q.emptyAt = true, time.Now()
	}
}

// wait returns when a queue is notified or the next poll is due. A notification that came after
// worthAsking is not missed: the lock under which wake is read also shows whether every queue is
// still empty.
func (n *QueueNotifier) wait(queues map[string]bool) {
	n.mu.Lock()
	wake, next := n.wake, pollInterval
	for name := range queues {
		q := n.state(name)
		if !q.empty || n.closed {
			n.mu.Unlock()
			return
		}
		next = min(next, pollInterval-time.Since(q.emptyAt))
	}
	n.mu.Unlock()
	timer := time.NewTimer(max(next, time.Millisecond))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	}
}

// pause waits a while, or until the process stops.
func (n *QueueNotifier) pause(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		n.mu.Lock()
		wake, closed := n.wake, n.closed
		n.mu.Unlock()
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

// mayForward lets the due tasks of a sorted set be moved once in ForwardInterval.
func (n *QueueNotifier) mayForward(zset string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.zsets[zset]) < ForwardInterval {
		return false
	}
	n.zsets[zset] = time.Now()
	return true
}

// forwardAgain lets the next one through at once: a script moves a hundred at most.
func (n *QueueNotifier) forwardAgain(zset string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.zsets, zset)
}
