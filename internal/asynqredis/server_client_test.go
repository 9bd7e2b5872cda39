package asynqredis

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/testenv"
)

// newServerClient makes a client on a Redis of its own, with n tasks pending.
func newServerClient(t *testing.T, n, slots int) (*BatchingServerClient, redis.UniversalClient) {
	t.Helper()
	opt, err := redis.ParseURL(testenv.Redis(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	t.Cleanup(func() { client.Close() })
	sender := asynq.NewClientFromRedisClient(client)
	for i := range n {
		if _, err := sender.Enqueue(asynq.NewTask("try", nil), asynq.TaskID(fmt.Sprint("task-", i)),
			asynq.Queue("default")); err != nil {
			t.Fatal(err)
		}
	}
	cfg := ServerClientConfig{Scripts: client, Notifier: NewQueueNotifier(), Queues: 1, Slots: slots}
	return NewBatchingServerClient(client, cfg), client
}

func scripts(t *testing.T, c redis.UniversalClient) int {
	t.Helper()
	m := regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`).FindStringSubmatch(c.Info(t.Context(), "commandstats").Val())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func TestAQueueThatWasJustEmptiedIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	const tasks, slots = 7, 5
	c, client := newServerClient(t, tasks, slots)
	c.cfg.Notifier.Close() // foundEmpty must not wait in this test
	// An id without a task: fewer are answered than were there.
	if err := client.Del(t.Context(), "asynq:{default}:t:task-0").Err(); err != nil {
		t.Fatal(err)
	}
	p := "asynq:{default}:"
	before := scripts(t, client)
	for i := range tasks + 3 {
		task := c.EvalSha(
			t.Context(),
			"",
			[]string{p + "pending", p + "paused", p + "active", p + "lease"},
			time.Now().Add(time.Minute).Unix(),
			p+"t:",
		)
		if found := task.Err() == nil; found != (i < tasks-1) {
			t.Fatalf("asked for the %d. time it answers %v", i+1, task)
		} else if found {
			c.Done()
		}
	}
	if n := scripts(t, client) - before; n != 2 {
		t.Errorf("%d scripts, want 2: one that left some, one that left none", n)
	}
}

// It fails where another version of asynq calls its scripts in another way: then the client lets
// them through one by one.
func TestTasksAreTakenAndFinishedManyAtATime(t *testing.T) {
	t.Parallel()
	const tasks, slots = 400, 100
	c, client := newServerClient(t, tasks, slots)
	before := scripts(t, client)
	done := make(chan string, tasks)
	server := asynq.NewServerFromRedisClient(
		c,
		asynq.Config{Concurrency: slots, Queues: map[string]int{"default": 1}, LogLevel: asynq.FatalLevel,
			TaskCheckInterval: time.Microsecond},
	)
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		defer c.Done()
		id, _ := asynq.GetTaskID(ctx)
		done <- id
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range tasks {
		seen[<-done] = true
	}
	c.cfg.Notifier.Close()
	server.Shutdown() // waits for what is being finished
	if len(seen) != tasks {
		t.Errorf("%d of %d tasks were worked on", len(seen), tasks)
	}
	if n := scripts(t, client) - before; n > tasks/2 {
		t.Errorf("%d scripts for %d tasks", n, tasks)
	}
	for _, key := range client.Keys(t.Context(), "asynq:{default}:*").Val() {
		if day := "asynq:{default}:processed:" +
			time.Now().UTC().Format(time.DateOnly); key != "asynq:{default}:processed" &&
			key != day {
			t.Errorf("%s is left", key)
		} else if n := client.Get(t.Context(), key).Val(); n != fmt.Sprint(tasks) {
			t.Errorf("%s says %s", key, n)
		}
	}
}

func take(t *testing.T, c *BatchingServerClient) (string, error) {
	t.Helper()
	p := "asynq:{default}:"
	return c.EvalSha(t.Context(), "", []string{p + "pending", p + "paused", p + "active", p + "lease"},
		time.Now().Add(30*time.Second).Unix(), p+"t:").
		Text()
}

func TestNoMoreIsTakenThanCanBegin(t *testing.T) {
	t.Parallel()
	c, client := newServerClient(t, 10, 3)
	active := func() int64 { return client.LLen(t.Context(), "asynq:{default}:active").Val() }
	for range 3 {
		if _, err := take(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := active(); n != 3 {
		t.Errorf("%d tasks are taken for 3 slots", n)
	}
	c.Done()
	if _, err := take(t, c); err != nil {
		t.Fatal(err)
	}
	if n := active(); n != 4 { // one is done with, and asynq has not finished it yet
		t.Errorf("%d tasks are taken", n)
	}
}

func TestWhatAsynqWasNotGivenGoesBackInItsOrder(t *testing.T) {
	t.Parallel()
	c, client := newServerClient(t, 6, 4)
	if _, err := take(t, c); err != nil {
		t.Fatal(err)
	}
	if err := c.RequeueAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	pending := client.LRange(t.Context(), "asynq:{default}:pending", 0, -1).Val()
	if want := []string{"task-5", "task-4", "task-3", "task-2", "task-1"}; !slices.Equal(pending, want) {
		t.Errorf("%v wait, want %v", pending, want)
	}
	if got := client.LRange(t.Context(), "asynq:{default}:active", 0, -1).Val(); !slices.Equal(
		got,
		[]string{"task-0"},
	) {
		t.Errorf("%v are active", got)
	}
	if got := client.ZRange(t.Context(), "asynq:{default}:lease", 0, -1).Val(); !slices.Equal(got, []string{"task-0"}) {
		t.Errorf("%v are leased", got)
	}
	if state := client.HGet(t.Context(), "asynq:{default}:t:task-3", "state").Val(); state != "pending" {
		t.Errorf("a task that went back is %s", state)
	}
}

func TestATaskWithoutAMessageIsDropped(t *testing.T) {
	t.Parallel()
	c, client := newServerClient(t, 2, 4)
	client.Del(t.Context(), "asynq:{default}:t:task-0")
	if _, err := take(t, c); err != nil {
		t.Fatal(err)
	}
	if got := client.LRange(t.Context(), "asynq:{default}:active", 0, -1).Val(); !slices.Equal(
		got,
		[]string{"task-1"},
	) {
		t.Errorf("%v are active", got)
	}
	if n := client.Exists(t.Context(), "asynq:{default}:t:task-0").Val(); n != 0 {
		t.Error("a task was made out of an id")
	}
}
