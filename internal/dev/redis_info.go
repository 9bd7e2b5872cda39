package dev

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// redisInfo answers INFO for the built-in Redis, whose own answer lacks what Waybill's figures and
// the monitor read.
type redisInfo struct {
	server *server.Server
	since  time.Time
}

func newRedisInfo(s *server.Server) *redisInfo { return &redisInfo{s, time.Now()} }

// answer is a hook that runs before each command; it answers whether it took the command.
func (i *redisInfo) answer(c *server.Peer, command string, args ...string) bool {
	if !strings.EqualFold(command, "INFO") {
		return false
	}
	var text strings.Builder
	for _, s := range i.sections() {
		if wanted(s.name, args) {
			fmt.Fprintf(&text, "# %s\r\n%s\r\n", s.name, strings.Join(s.lines, "\r\n")+"\r\n")
		}
	}
	c.WriteBulk(text.String())
	return true
}

func wanted(section string, asked []string) bool {
	for _, a := range asked {
		if strings.EqualFold(a, section) || strings.EqualFold(a, "all") || strings.EqualFold(a, "default") ||
			strings.EqualFold(a, "everything") {
			return true
		}
	}
	return len(asked) == 0
}

type infoSection struct {
	name  string
	lines []string
}

// sections say what holds: the memory is that of the whole process, nothing is evicted, and nothing
// is written to a disk, so that the last save is the start.
func (i *redisInfo) sections() []infoSection {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	up := time.Since(i.since)
	return []infoSection{
		{"Server", []string{
			"redis_version:built-in", "redis_mode:standalone",
			fmt.Sprintf(
				"uptime_in_seconds:%d",
				int(up.Seconds()),
			), fmt.Sprintf("uptime_in_days:%d", int(up.Hours())/24),
		}},
		{"Clients", []string{fmt.Sprintf("connected_clients:%d", i.server.ClientsLen()), "blocked_clients:0"}},
		{"Memory", []string{
			fmt.Sprintf("used_memory:%d", mem.HeapAlloc), "used_memory_human:" + megabytes(mem.HeapAlloc),
			fmt.Sprintf("used_memory_rss:%d", mem.Sys), "used_memory_rss_human:" + megabytes(mem.Sys),
			fmt.Sprintf("used_memory_peak:%d", mem.HeapSys), "used_memory_peak_human:" + megabytes(mem.HeapSys),
			"used_memory_peak_perc:-", "mem_fragmentation_ratio:1.00",
			"maxmemory:0", "maxmemory_human:0B", "maxmemory_policy:noeviction",
		}},
		{"Persistence", []string{
			"loading:0", "aof_enabled:0", "rdb_changes_since_last_save:0", "rdb_bgsave_in_progress:0",
			fmt.Sprintf("rdb_last_save_time:%d", i.since.Unix()),
		}},
		{"Stats", []string{
			fmt.Sprintf(
				"total_connections_received:%d",
				i.server.TotalConnections(),
			), fmt.Sprintf("total_commands_processed:%d", i.server.TotalCommands()),
			"evicted_keys:0", "expired_keys:0",
		}},
		{"Replication", []string{"role:master", "connected_slaves:0"}},
		{"Cluster", []string{"cluster_enabled:0"}},
	}
}

func megabytes(n uint64) string { return fmt.Sprintf("%.2fM", float64(n)/(1<<20)) }
