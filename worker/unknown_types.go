package worker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// unknownTypeDelay is how long a task is put off whose type this worker does not know: another
	// worker may know it.
	unknownTypeDelay = 10 * time.Second
	// unknownTypeLogInterval is how often a type is logged that this worker does not know.
	unknownTypeLogInterval = time.Minute
	// maxUnknownTypes bounds how many types are counted apart.
	maxUnknownTypes = 1000
	// yieldFor is how long a worker that met an unknown type lets the others move due retries to
	// the queue first: a worker that knows the type then takes it.
	yieldFor = 30 * time.Second
)

// unknownTypes counts the tasks whose type this worker does not know.
type unknownTypes struct {
	log  *slog.Logger
	last atomic.Int64 // Unix nanoseconds; when the last one was met

	mu    sync.Mutex
	types map[string]*unknownType
}

type unknownType struct {
	tasks  int // since it was logged
	logged time.Time
}

func newUnknownTypes(log *slog.Logger) *unknownTypes {
	return &unknownTypes{log: log, types: map[string]*unknownType{}}
}

// add notes a task of an unknown type. A type is logged at once, and then once a minute.
func (u *unknownTypes) add(taskType, queue string) {
	now := time.Now()
	u.last.Store(now.UnixNano())
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.types[taskType]
	if t == nil {
		if len(u.types) >= maxUnknownTypes {
			clear(u.types)
		}
		t = &unknownType{}
		u.types[taskType] = t
	}
	t.tasks++
	if now.Sub(t.logged) < unknownTypeLogInterval {
		return
	}
	u.log.Warn(
		"this worker does not know a task type; its tasks wait for a worker that does",
		"type",
		taskType,
		"queue",
		queue,
		"tasks",
		t.tasks,
		"again_in",
		unknownTypeDelay,
	)
	t.tasks, t.logged = 0, now
}

// metRecently reports whether one was met a short while ago.
func (u *unknownTypes) metRecently() bool {
	last := u.last.Load()
	return last != 0 && time.Now().UnixNano()-last < int64(yieldFor)
}
