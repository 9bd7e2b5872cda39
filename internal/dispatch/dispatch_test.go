package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
)

// newDispatcher runs a Dispatcher on a Redis of its own until the test ends.
func newDispatcher(
	t *testing.T,
	cfg Config,
	args ...string,
) (*Dispatcher, *testenv.RedisServer, redis.UniversalClient) {
	t.Helper()
	server := testenv.Redis(t, args...)
	client, err := redisx.Connect(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	d, err := New(cfg, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return d, server, client
}

func message(change ...func(*job.Message)) job.Message {
	p := job.Message{
		JobID:      job.NewID(),
		Delivery:   1,
		Type:       "debug.echo",
		Queue:      "default",
		State:      job.Pending,
		RunAt:      time.Now(),
		MaxRetries: 3,
		Payload:    json.RawMessage(`{"a":1}`),
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func taskInfo(t *testing.T, d *Dispatcher, p job.Message) *asynq.TaskInfo {
	t.Helper()
	info, err := d.insp.GetTaskInfo(p.Queue, job.TaskID(p.JobID, p.Delivery))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestAParcelBecomesATaskOnce(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{})
	bells := client.Subscribe(t.Context(), asynqredis.WakeUpChannel)
	defer bells.Close()
	if _, err := bells.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := message(func(p *job.Message) { p.Traceparent = "00-trace" })
	for range 2 {
		if err := d.SendNow(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if n := client.LLen(t.Context(), "asynq:{default}:pending").Val(); n != 1 {
		t.Errorf("%d tasks are pending", n)
	}
	info := taskInfo(t, d, p)
	if info.MaxRetry != 4 || string(info.Payload) != `{"a":1}` || info.Headers["traceparent"] != "00-trace" {
		t.Errorf("the task is %+v", info)
	}
	m, err := bells.ReceiveMessage(t.Context())
	if err != nil || m.Payload != "default" {
		t.Errorf("the channel said %v, %v", m, err)
	}
}

func TestATaskIsNeverDueBeforeItsJob(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{})
	p := message(func(p *job.Message) {
		p.State, p.RunAt = job.Scheduled, time.Now().Truncate(time.Second).Add(10*time.Second+time.Millisecond)
	})
	if err := d.SendNow(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	at := taskInfo(t, d, p).NextProcessAt
	if at.Before(p.RunAt) || at.Sub(p.RunAt) > time.Second {
		t.Errorf("a job for %s is due %s", p.RunAt, at)
	}
}

func TestRedisSeesNoPrivateOrLargePayload(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{Private: func(k string) bool { return k == "secret.type" }})
	large := message(func(p *job.Message) { p.Payload = json.RawMessage(`"` + strings.Repeat("x", 5000) + `"`) })
	private := message(
		func(p *job.Message) { p.Type, p.Payload = "secret.type", json.RawMessage(`{"password":"hunter2"}`) },
	)
	for _, p := range []job.Message{large, private} {
		if err := d.SendNow(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := string(taskInfo(t, d, p).Payload); !strings.Contains(got, "see the ledger") ||
			strings.Contains(got, "hunter2") ||
			len(got) > 100 {
			t.Errorf("redis holds %s", got)
		}
	}
}

func TestACallerNeverWaitsForRedis(t *testing.T) {
	t.Parallel()
	d, server, _ := newDispatcher(t, Config{Buffer: 10, Senders: 1})
	server.Pause()
	defer server.Resume()
	began := time.Now()
	for range 1000 {
		d.Send(message())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a thousand sends took %s", took)
	}
	if d.Missed() < 900 {
		t.Errorf("%d were left to the reconciler", d.Missed())
	}
}

func TestAWithdrawnTaskIsGone(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{})
	p := message()
	if err := d.SendNow(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	d.Withdraw(p)
	testenv.Eventually(t, 5*time.Second, func() bool {
		return client.Exists(t.Context(), asynqredis.TaskKey("default", job.TaskID(p.JobID, 1))).Val() == 0
	}, "the task is gone")
}

func TestSendingStopsBeforeRedisIsFull(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{}, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
	ballast := strings.Repeat("x", 64<<10)
	for i := range 200 { // until it says no
		client.Set(t.Context(), fmt.Sprint("ballast", i), ballast, 0)
	}
	testenv.Eventually(t, 5*time.Second, d.Full, "sending stops")
	d.Send(message())
	if n := client.LLen(t.Context(), "asynq:{default}:pending").Val(); n != 0 || d.Missed() != 1 {
		t.Errorf("%d tasks were sent, %d left to the reconciler", n, d.Missed())
	}
	client.FlushAll(t.Context())
	testenv.Eventually(t, 5*time.Second, func() bool { return !d.Full() }, "sending goes on")
}

func TestARedisThatEvictsIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		args    []string
		refused bool
	}{
		{"evicts", []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, true},
		{"would evict, but has no limit", []string{"--maxmemory-policy", "allkeys-lru"}, false},
		{"does not evict", []string{"--maxmemory", "100mb", "--maxmemory-policy", "noeviction"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, err := redisx.Connect(testenv.Redis(t, c.args...).URL)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := redisx.CheckSettings(t.Context(), client, testenv.Logger(t)); (err != nil) != c.refused {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParcelsOfOneMomentTravelTogether(t *testing.T) {
	t.Parallel()
	const messages = 500
	d, _, client := newDispatcher(t, Config{})
	all := make([]job.Message, messages)
	for i := range all {
		all[i] = message(func(p *job.Message) {
			if i%2 == 0 {
				p.State, p.RunAt = job.Scheduled, time.Now().Add(time.Hour)
			}
		})
	}
	d.Send(all...)
	testenv.Eventually(t, 10*time.Second, func() bool {
		return client.LLen(t.Context(), "asynq:{default}:pending").
			Val()+
			client.ZCard(t.Context(), "asynq:{default}:scheduled").
				Val() ==
			messages
	}, "all are there")
	stats, calls := client.Info(t.Context(), "commandstats").Val(), 0
	_, stats, _ = strings.Cut(stats, "cmdstat_evalsha:")
	if _, err := fmt.Sscanf(stats, "calls=%d", &calls); err != nil || calls > messages/4 {
		t.Errorf("%d scripts for %d messages, %v", calls, messages, err)
	}
	for _, p := range all[:2] {
		info := taskInfo(t, d, p)
		if want := map[bool]asynq.TaskState{true: asynq.TaskStateScheduled,
			false: asynq.TaskStatePending}[p.RunAt.After(time.Now())]; info.State != want {
			t.Errorf("asynq calls it %s, want %s", info.State, want)
		}
		if late := info.NextProcessAt.Sub(p.RunAt); info.State == asynq.TaskStateScheduled &&
			(late < 0 || late >= time.Second) {
			t.Errorf("it is due %s, for a job of %s", info.NextProcessAt, p.RunAt)
		}
	}
}
