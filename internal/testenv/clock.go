package testenv

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/testenv/server"
)

// Clock is a clock that a test moves under the servers that it starts with it.
type Clock struct {
	t testing.TB
	c *server.Clock
}

// NewClock makes a clock that shows the machine's time, for servers of this test alone.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	c, err := server.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, c.Close()) })
	return &Clock{t, c}
}

// Set moves the clock to ahead of the machine's; a negative offset is behind.
func (c *Clock) Set(ahead time.Duration) { c.t.Helper(); must(c.t, c.c.Set(ahead)) }

// Postgres is the URL of an empty database on a server of its own that goes by the clock.
func (c *Clock) Postgres() string {
	c.t.Helper()
	s, err := server.StartPostgresBy(c.c)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { report(c.t, s.Close()) })
	return s.URL()
}

// Redis is the URL of a redis-server that goes by the clock.
func (c *Clock) Redis() string {
	c.t.Helper()
	s, err := server.StartRedisBy(c.c)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { report(c.t, s.Close()) })
	return s.URL()
}
