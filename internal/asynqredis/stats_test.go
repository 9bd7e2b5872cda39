package asynqredis_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/internal/dispatch"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
)

// newDispatcher runs a Dispatcher on a Redis of its own until the test ends.
func newDispatcher(t *testing.T) (*dispatch.Dispatcher, *asynqredis.Stats, redis.UniversalClient) {
	t.Helper()
	client, err := redisx.Connect(testenv.Redis(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	d, err := dispatch.New(dispatch.Config{}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.Run(t.Context()) }()
	return d, asynqredis.NewStats(client, clock.New()), client
}

func message(change ...func(*job.Message)) job.Message {
	p := job.Message{
		JobID: job.NewID(), Delivery: 1, Type: "debug.echo", Queue: "default", State: job.Pending,
		RunAt: time.Now(), MaxRetries: 3, Payload: json.RawMessage(`{"a":1}`),
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func TestFiguresCountTheTasksOfEveryQueue(t *testing.T) {
	t.Parallel()
	d, stats, client := newDispatcher(t)
	later := func(p *job.Message) { p.State, p.RunAt = job.Scheduled, time.Now().Add(time.Hour) }
	for _, p := range []job.Message{message(), message(), message(later),
		message(func(p *job.Message) { p.Queue = "low" })} {
		if err := d.SendNow(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	archived := message(later)
	if err := d.SendNow(t.Context(), archived); err != nil {
		t.Fatal(err)
	}
	if err := asynq.NewInspectorFromRedisClient(client).ArchiveTask("default",
		job.TaskID(archived.JobID, 1)); err != nil {
		t.Fatal(err)
	}
	if err := asynq.NewInspectorFromRedisClient(client).PauseQueue("low"); err != nil {
		t.Fatal(err)
	}
	client.SAdd(t.Context(), "asynq:queues", `"}x{"`, "Somebody Else's")
	client.Set(t.Context(), "asynq:{default}:processed", 7, 0)
	client.Set(t.Context(), "asynq:{default}:failed", 2, 0)

	got, err := stats.Queues(t.Context(), []string{"default", "idle"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Queue != "default" || got[1].Queue != "idle" || got[2].Queue != "low" {
		t.Fatalf("got %+v, want the queues default, idle and low", got)
	}
	if f := got[0]; f.Pending != 2 || f.Scheduled != 1 || f.Archived != 1 || f.Size() != 4 || f.Processed != 7 ||
		f.Failed != 2 ||
		f.Paused ||
		f.Latency <= 0 ||
		f.Latency > time.Minute {
		t.Errorf("default: %+v", f)
	}
	if f := got[1]; f != (asynqredis.QueueStats{Queue: "idle"}) {
		t.Errorf("idle: %+v", f)
	}
	if f := got[2]; f.Pending != 1 || !f.Paused {
		t.Errorf("low: %+v", f)
	}
}

func TestAMissingTaskBreaksNoFigure(t *testing.T) {
	t.Parallel()
	d, stats, client := newDispatcher(t)
	p := message()
	if err := d.SendNow(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	client.Del(t.Context(), asynqredis.TaskKey("default", job.TaskID(p.JobID, 1)))
	got, err := stats.Queues(t.Context(), nil)
	if err != nil || len(got) != 1 || got[0].Pending != 1 || got[0].Latency != 0 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := stats.QueueMemory(t.Context(), got); err != nil {
		t.Error(err)
	}
}

func TestAQueuesMemoryIsEstimatedFromSamples(t *testing.T) {
	t.Parallel()
	d, stats, _ := newDispatcher(t)
	for range 30 {
		if err := d.SendNow(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := stats.Queues(t.Context(), []string{"idle"})
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := stats.QueueMemory(t.Context(), got)
	if err != nil || bytes["default"] < 30*200 || bytes["default"] > 30*5000 || bytes["idle"] != 0 {
		t.Errorf("got %v, %v, want some kilobytes for 30 tasks", bytes, err)
	}
}
