//go:build soak

package schedule

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

const (
	soakTime      = 2 * time.Minute
	soakKill      = 10 * time.Second
	soakSchedules = 1000
	aroundKill    = 2 * time.Second // after a kill, which counts as its consequence
)

// workers are real processes.
type workers struct {
	t    *testing.T
	bin  string
	env  []string
	live []*exec.Cmd
}

func startWorkers(t *testing.T, n int, database, redis string) *workers {
	t.Helper()
	w := &workers{t: t, bin: filepath.Join(t.TempDir(), "worker"), live: make([]*exec.Cmd, n)}
	build := exec.Command("go", "build", "-o", w.bin, "github.com/waybill/waybill/cmd/worker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.env = append(os.Environ(), "DATABASE_URL="+database, "REDIS_URL="+redis, "WAYBILL_LOG_LEVEL=warn")
	for i := range n {
		w.start(i)
	}
	t.Cleanup(w.kill)
	return w
}

func (w *workers) start(i int) {
	w.t.Helper()
	c := exec.Command(w.bin)
	c.Env = append(w.env, fmt.Sprintf("WAYBILL_METRICS_ADDR=127.0.0.1:%d", testenv.FreePort(w.t)))
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.live[i] = c
}

func (w *workers) killOne(i int) {
	w.t.Helper()
	if err := w.live[i].Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	_ = w.live[i].Wait() // killed: its error says so
}

func (w *workers) kill() {
	for i := range w.live {
		_ = w.live[i].Process.Kill() // gone already: fine
		_ = w.live[i].Wait()
	}
}

// Three worker processes, 1,000 schedules of every one to three seconds, one process killed every
// ten seconds for two minutes.
func TestSoakEveryTickIsAccountedForWhileProcessesAreKilled(t *testing.T) {
	redis := testenv.Redis(t)
	url := testenv.PostgresServer(t, "fsync=on").URL
	b := newBench(t, url)
	w := startWorkers(t, 3, url, redis.URL)
	var made []*job.Schedule
	for i := range soakSchedules {
		made = append(made, b.create(func(s *job.Schedule) {
			s.Name, s.Missed = fmt.Sprintf("soak-%d", i), job.MissedAll
			switch n := 1 + i%3; {
			case i%2 == 0:
				s.Every = time.Duration(n) * time.Second
			default:
				s.Every, s.Cron = 0, fmt.Sprintf("*/%d * * * * *", n)
			}
		}))
	}
	begin := time.Now()
	var kills []time.Time
	for n := 0; time.Since(begin) < soakTime; n++ {
		pause(t, soakKill)
		kills = append(kills, time.Now())
		w.killOne(n % 3)
		w.start(n % 3)
	}
	pause(t, 3*time.Second)
	for _, s := range made {
		if _, err := b.Pause(t.Context(), s.ID, "soak", "over"); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 2*time.Minute, func() bool {
		n, err := b.store.OpenCounts(t.Context())
		return err == nil && !slices.ContainsFunc(n, func(q job.QueueCounts) bool { return open(q) > 0 })
	}, "every job finished")
	ticks := account(t, b.store, made)
	late := lags(ticks, func(planned time.Time) bool {
		return planned.Before(begin) || slices.ContainsFunc(kills, func(k time.Time) bool {
			return planned.After(k.Add(-time.Second)) && planned.Before(k.Add(aroundKill))
		})
	})
	all := lags(ticks, func(time.Time) bool { return false })
	p99 := late[len(late)*99/100]
	t.Logf(
		"%d ticks, %d kills; lag outside the kills p50 %v, p99 %v, max %v; of all p99 %v, max %v",
		len(ticks),
		len(kills),
		late[len(late)/2],
		p99,
		late[len(late)-1],
		all[len(all)*99/100],
		all[len(all)-1],
	)
	if p99 > 1500*time.Millisecond {
		t.Errorf("p99 of the lag is %v", p99)
	}
}

func open(q job.QueueCounts) (n int) {
	for _, c := range q.Open {
		n += c
	}
	return n
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// 10,000 schedules, most of them daily, with nothing due: what does a scheduler cost?
func TestSoakSchedulesThatAreNotDueCostNextToNothing(t *testing.T) {
	b := newBench(t, testenv.PostgresServer(t).URL)
	owner := job.NewID()
	for i := range 10_000 {
		b.create(func(s *job.Schedule) {
			s.OwnerID, s.Name, s.Every, s.Cron = owner, fmt.Sprintf(
				"daily-%d",
				i,
			), 0, fmt.Sprintf(
				"%d %d * * *",
				i%60,
				(time.Now().UTC().Hour()+2+i%20)%24,
			)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	before := cpu(t)
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	share := float64(cpu(t)-before) / float64(30*time.Second)
	t.Logf("scheduler and database together took %.3f %% of a core", 100*share)
	if share > 0.01 {
		t.Errorf("more than 1 %%: %.2f", 100*share)
	}
}

// cpu is what this process and all below it, PostgreSQL among them, have used.
func cpu(t *testing.T) (used time.Duration) {
	t.Helper()
	const tick = 10 * time.Millisecond // USER_HZ
	parent, own := map[int]int{}, map[int]time.Duration{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		var pid, up int
		fmt.Sscan(string(text), &pid)
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		fmt.Sscan(f[1], &up)
		for _, i := range []int{11, 12} { // utime, stime
			n, err := strconv.Atoi(f[i])
			if err != nil {
				t.Fatal(err)
			}
			own[pid] += time.Duration(n) * tick
		}
		parent[pid] = up
	}
	for pid, spent := range own {
		for p := pid; p != 0; p = parent[p] {
			if p == os.Getpid() {
				used += spent
				break
			}
		}
	}
	return used
}

// lags are how late the ticks were decided, shortest first, without those that were planned while
// skip says so.
func lags(ticks []job.Tick, skip func(time.Time) bool) []time.Duration {
	var list []time.Duration
	for _, t := range ticks {
		if !skip(t.PlannedAt) {
			list = append(list, t.DecidedAt.Sub(t.PlannedAt))
		}
	}
	slices.Sort(list)
	return list
}
