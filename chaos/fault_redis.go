package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/chaos/proxy"
	"github.com/waybill/waybill/internal/loop"
)

func killRedis(ctx context.Context, w *cluster) error {
	if err := w.redis.Kill(); err != nil {
		return err
	}
	loop.Sleep(ctx, 2*time.Second)
	return w.redis.Start()
}

// loseTail takes half of Redis's log while calls are running, whose tasks come back as if they had
// not been dequeued.
func loseTail(ctx context.Context, w *cluster) error {
	w.waitAhead(ctx)
	w.longCalls(ctx, 20, 8*time.Second)
	if err := cutTail(ctx, w); err != nil {
		return err
	}
	return w.backInRedis(ctx)
}

// cutTail lets Redis go back in time: its log ends in the middle, as after a crash of the machine,
// or where a replica that lagged is promoted.
func cutTail(ctx context.Context, w *cluster) error {
	if err := w.redis.Kill(); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(w.redis.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(logs) == 0 {
		return fmt.Errorf("no append-only file in %s: %w", w.redis.Dir(), err)
	}
	log := logs[len(logs)-1]
	info, err := os.Stat(log)
	if err != nil {
		return err
	}
	w.note(fmt.Sprintf("%d of %d KiB of the log lost", info.Size()>>11, info.Size()>>10))
	return errors.Join(os.Truncate(log, info.Size()/2), w.redis.Start())
}

// flushRedis empties Redis while jobs wait in it for which the watermark has vouched, and others
// for which it has not, at the worst moment: a reconciler has read the watermark and is about to raise
// it.
func flushRedis(ctx context.Context, w *cluster) error {
	w.waitAhead(ctx)
	w.flood(ctx, "backlog", 3, 1000, 100)
	var flushed error
	var once sync.Once
	done := make(chan struct{})
	w.watchRedis(func(e proxy.Event) proxy.Verdict {
		if e.Moment == proxy.Asked && raisesWatermark(e) {
			once.Do(func() {
				flushed = w.rdb.FlushAll(ctx).Err()
				close(done)
			})
		}
		return proxy.Verdict{}
	})
	defer w.watchRedis(nil)
	if err := errors.Join(await(ctx, done, 10*time.Second, "a reconciler that raises the watermark"), flushed); err != nil {
		return err
	}
	return w.backInRedis(ctx)
}

// ahead is how many jobs wait for their time while Redis loses them.
const ahead = 4000

// waitAhead submits jobs that lie ahead, and returns when the watermark covers them.
func (w *cluster) waitAhead(ctx context.Context) {
	w.flood(ctx, "ahead", 2, ahead/2, 100, `,"delay":"14s"`)
	loop.Sleep(ctx, 4*time.Second)
}

// backInRedis holds the reconciler to its word: what Redis lost is back within seconds. The slow
// comparison of all jobs, which would find it too in the end, has not come far by then.
func (w *cluster) backInRedis(ctx context.Context) error {
	w.healed = time.Now()
	err := w.eventually(ctx, 6*time.Second, func() (bool, error) {
		there, errs := 0, []error(nil)
		for _, q := range queues {
			n, err := w.rdb.ZCard(ctx, "asynq:{"+q+"}:scheduled").Result()
			there, errs = there+int(n), append(errs, err)
		}
		return there >= ahead, errors.Join(errs...)
	}, "all %d jobs that lie ahead are back in Redis", ahead)
	w.note(fmt.Sprintf("all back in Redis after %.1f s", time.Since(w.healed).Seconds()))
	return err
}

// longCalls submits calls that last, and returns when they run.
func (w *cluster) longCalls(ctx context.Context, n int, d time.Duration) {
	for i := range n {
		o := &order{ref: fmt.Sprintf("call-%d-x", i), kind: "long call", want: completed()}
		o.key = o.ref
		o.submit("http.request", fmt.Sprintf(`{"url":%q}`, w.sink.url(d)))
		w.order(ctx, o)
	}
	_ = w.eventually(ctx, 3*time.Second, func() (bool, error) { return w.sink.running() >= n, nil }, "%d calls run", n)
}

// raisesWatermark knows the script that looks tasks up and raises the watermark, where there are
// tasks to look up.
func raisesWatermark(e proxy.Event) bool {
	return e.What == "EVALSHA watermark,t" && strings.Contains(e.Key, "{default}")
}

// flood submits batches of echo jobs with payloads of so many bytes, and further fields that begin
// with a comma.
func (w *cluster) flood(ctx context.Context, name string, batches, size, bytes int, more ...string) {
	var wg sync.WaitGroup
	for b := range batches {
		list := make([]*order, size)
		for i := range list {
			o := &order{ref: fmt.Sprintf("%s-%d-%d", name, b, i), kind: "flood", want: completed()}
			o.submit("debug.echo", fmt.Sprintf(`{"pad":%q}`, strings.Repeat("x", bytes)), more...)
			list[i] = o
		}
		w.book.add(list...)
		wg.Go(func() { w.client.submitAll(ctx, fmt.Sprintf("%s-%d", name, b), list) })
	}
	wg.Wait()
}

func replaceRedis(ctx context.Context, w *cluster) error {
	w.waitAhead(ctx)
	if err := w.redis.Kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(w.redis.Dir(), "appendonlydir")); err != nil {
		return err
	}
	loop.Sleep(ctx, time.Second)
	if err := w.redis.Start(); err != nil {
		return err
	}
	return w.backInRedis(ctx)
}

func freezeRedis(ctx context.Context, w *cluster) error {
	if err := w.redis.Pause(); err != nil {
		return err
	}
	loop.Sleep(ctx, 10*time.Second)
	return w.redis.Resume()
}

func redisDown(ctx context.Context, w *cluster) error {
	if err := w.redis.Stop(); err != nil {
		return err
	}
	loop.Sleep(ctx, w.during(15*time.Second, time.Minute))
	return w.redis.Start()
}

// redisErrors lets Redis refuse every command, in each way it has.
func redisErrors(ctx context.Context, w *cluster) error {
	defer w.watchRedis(nil)
	for _, no := range []struct {
		text string
		all  bool // reads too
	}{
		{"READONLY You can't write against a read only replica.", false},
		{"LOADING Redis is loading the dataset in memory", true},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", false},
		{"OOM command not allowed when used memory > 'maxmemory'.", false},
	} {
		reply := []byte("-" + no.text + "\r\n")
		w.watchRedis(func(e proxy.Event) proxy.Verdict {
			if e.Moment == proxy.Asked && (no.all && !greets(e.What) || proxy.WritesRedis(e.What)) {
				return proxy.Verdict{Reply: reply}
			}
			return proxy.Verdict{}
		})
		loop.Sleep(ctx, 4*time.Second)
	}
	return nil
}

// greets names the commands that a loading Redis answers all the same.
func greets(command string) bool {
	name, _, _ := strings.Cut(command, " ")
	return name == "HELLO" || name == "CLIENT" || strings.HasSuffix(name, "SUBSCRIBE")
}

func (w *cluster) watchRedis(h proxy.Hook) {
	for _, m := range w.members() {
		m.redis.Watch(h)
	}
}

// fillRedis gives Redis little room and sends more than fits.
func fillRedis(ctx context.Context, w *cluster) error {
	used, err := w.usedMemory(ctx)
	if err != nil {
		return err
	}
	limit := used + 6<<20
	if err := w.rdb.ConfigSet(ctx, "maxmemory", fmt.Sprint(limit)).Err(); err != nil {
		return err
	}
	w.flood(ctx, "flood", 2, 5000, 700)
	loop.Sleep(ctx, 3*time.Second)
	peak, err := w.rdb.InfoMap(ctx, "memory").Result()
	if err != nil {
		return err
	}
	w.note(fmt.Sprintf("peak %s of %s KiB", kib(peak["Memory"]["used_memory_peak"]), kib(fmt.Sprint(limit))))
	return nil // the limit stays: workers must drain under it
}

func kib(text string) string {
	var n int64
	_, _ = fmt.Sscan(text, &n)
	return fmt.Sprint(n >> 10)
}

// loseReplies cuts connections to Redis after a command ran and before its reply is heard: for each
// process and each step that talks to Redis, several times.
func loseReplies(ctx context.Context, w *cluster) error {
	var mu sync.Mutex
	steps, cuts := map[string]bool{}, 0
	for _, m := range w.members() {
		count := map[string]int{}
		m.redis.Watch(func(e proxy.Event) proxy.Verdict {
			if e.Moment != proxy.Answered || greets(e.What) {
				return proxy.Verdict{}
			}
			mu.Lock()
			defer mu.Unlock()
			count[e.What]++
			if n := count[e.What]; n == 2 || n == 9 || n == 60 {
				steps[e.What] = true
				cuts++
				return proxy.Verdict{Cut: true}
			}
			return proxy.Verdict{}
		})
	}
	loop.Sleep(ctx, w.during(8*time.Second, 40*time.Second))
	w.watchRedis(nil)
	w.note(fmt.Sprintf("%d replies lost at %d steps", cuts, len(steps)))
	return nil
}
