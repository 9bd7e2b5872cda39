package store

import "time"

// PoolStats says how busy the connections to the database are.
type PoolStats struct {
	Max    int // connections that there may be
	InUse  int
	Idle   int
	Waits  int64         // times that somebody had to wait for one, since the process began
	Waited time.Duration // in all
}

// PoolStats asks nobody.
func (s *Store) PoolStats() PoolStats { return s.engine.poolStats() }
