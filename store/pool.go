package store

import "time"

// PoolStats says how busy the connections to the database are.
type PoolStats struct {
	Max    int // connections that there may be
	InUse  int
	Idle   int
	Waits  int64         // waits for a connection, since the process began
	Waited time.Duration // in all
}

// PoolStats reads local counters; no I/O.
func (s *Store) PoolStats() PoolStats { return s.engine.poolStats() }
