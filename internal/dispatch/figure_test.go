package dispatch

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func TestFiguresCountTheTasksOfEveryQueue(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{})
	later := func(p *job.Parcel) { p.State, p.RunAt = job.Scheduled, time.Now().Add(time.Hour) }
	for _, p := range []job.Parcel{parcel(), parcel(), parcel(later), parcel(func(p *job.Parcel) { p.Queue = "low" })} {
		if err := d.SendNow(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	archived := parcel(later)
	if err := d.SendNow(t.Context(), archived); err != nil {
		t.Fatal(err)
	}
	if err := d.insp.ArchiveTask("default", job.TaskID(archived.JobID, 1)); err != nil {
		t.Fatal(err)
	}
	if err := d.insp.PauseQueue("low"); err != nil {
		t.Fatal(err)
	}
	client.SAdd(t.Context(), "asynq:queues", `"}x{"`, "Somebody Else's")
	client.Set(t.Context(), "asynq:{default}:processed", 7, 0)
	client.Set(t.Context(), "asynq:{default}:failed", 2, 0)

	got, err := d.Figures(t.Context(), []string{"default", "idle"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Queue != "default" || got[1].Queue != "idle" || got[2].Queue != "low" {
		t.Fatalf("got %+v, want the queues default, idle and low", got)
	}
	if f := got[0]; f.Pending != 2 || f.Scheduled != 1 || f.Archived != 1 || f.Size() != 4 || f.Processed != 7 || f.Failed != 2 || f.Paused || f.Latency <= 0 || f.Latency > time.Minute {
		t.Errorf("default: %+v", f)
	}
	if f := got[1]; f != (QueueFigures{Queue: "idle"}) {
		t.Errorf("idle: %+v", f)
	}
	if f := got[2]; f.Pending != 1 || !f.Paused {
		t.Errorf("low: %+v", f)
	}
}

func TestAMissingTaskBreaksNoFigure(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{})
	p := parcel()
	if err := d.SendNow(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	client.Del(t.Context(), taskKey("default", job.TaskID(p.JobID, 1)))
	got, err := d.Figures(t.Context(), nil)
	if err != nil || len(got) != 1 || got[0].Pending != 1 || got[0].Latency != 0 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := d.QueueMemory(t.Context(), got); err != nil {
		t.Error(err)
	}
}

func TestAQueuesMemoryIsEstimatedFromSamples(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{})
	for range 3 * sampled {
		if err := d.SendNow(t.Context(), parcel()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Figures(t.Context(), []string{"idle"})
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := d.QueueMemory(t.Context(), got)
	if err != nil || bytes["default"] < 3*sampled*200 || bytes["default"] > 3*sampled*5000 || bytes["idle"] != 0 {
		t.Errorf("got %v, %v, want some kilobytes for 30 tasks", bytes, err)
	}
}

func TestRedisTellsItsMemory(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{}, "--maxmemory", "64mb")
	used, limit, err := d.Memory(t.Context())
	if err != nil || used <= 0 || limit != 64<<20 {
		t.Errorf("got %d of %d, %v", used, limit, err)
	}
}

func TestADutyIsOnesUntilItRunsOutOrIsGivenUp(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{})
	a, b := job.NewID(), job.NewID()
	ask := func(who job.ID, ttl time.Duration) bool {
		held, err := d.Lease(t.Context(), "duty", who, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	first, again := ask(a, time.Hour), ask(a, time.Hour)
	if !first || !again || ask(b, time.Hour) {
		t.Error("want the first to have and keep it, alone")
	}
	for _, who := range []job.ID{b, a} {
		if ask(b, time.Hour) {
			t.Error("it was given up by somebody else")
		}
		if err := d.Release(t.Context(), "duty", who); err != nil {
			t.Fatal(err)
		}
	}
	if !ask(b, time.Millisecond) {
		t.Error("given up, but still held")
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return ask(a, time.Hour) }, "it runs out")
}
