package testenv

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv/server"
)

// RedisServer is a redis-server that one test has for itself. Each method ends the test if it
// fails; call them from one goroutine at a time.
type RedisServer struct {
	URL  string // of database 0
	Addr string // host:port; the same over Stop, Kill and Start
	Dir  string // where it keeps its files, if told to keep any

	t testing.TB
	s *server.Redis
}

// Redis starts a server for this test alone, gone when the test ends. It keeps nothing on disk
// unless args, as on the command line of redis-server, say so: testenv.Redis(t, "--appendonly",
// "yes").
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s, err := server.StartRedis(args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, s.Close()) })
	return &RedisServer{URL: s.URL(), Addr: s.Addr(), Dir: s.Dir(), t: t, s: s}
}

// Client is closed when the test t ends.
func (r *RedisServer) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = c.Close() }) // closed by the test already: fine
	return c
}

// Stop ends the server in an orderly way: an append-only file is complete.
func (r *RedisServer) Stop() { r.t.Helper(); must(r.t, r.s.Stop()) }

// Kill ends the server as a crash would.
func (r *RedisServer) Kill() { r.t.Helper(); must(r.t, r.s.Kill()) }

// Start returns when the server answers again, with the same address and files.
func (r *RedisServer) Start() { r.t.Helper(); must(r.t, r.s.Start()) }

// Pause freezes the server; connections stay open and are not answered.
func (r *RedisServer) Pause() { r.t.Helper(); must(r.t, r.s.Pause()) }

// Resume undoes Pause.
func (r *RedisServer) Resume() { r.t.Helper(); must(r.t, r.s.Resume()) }
