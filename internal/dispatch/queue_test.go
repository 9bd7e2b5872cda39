package dispatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/job"
)

func TestAQueueIsPausedAndResumedAnyNumberOfTimes(t *testing.T) {
	t.Parallel()
	d, _, client := newDispatcher(t, Config{})
	bells := client.Subscribe(t.Context(), asynqredis.WakeUpChannel)
	defer bells.Close()
	if _, err := bells.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.PauseQueue(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
	}
	if since := client.Get(t.Context(), "asynq:{default}:paused").Val(); since == "" {
		t.Error("asynq's key is not there")
	}
	for range 2 {
		if err := d.ResumeQueue(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
	}
	if client.Exists(t.Context(), "asynq:{default}:paused").Val() != 0 {
		t.Error("asynq's key is still there")
	}
	if m, err := bells.ReceiveMessage(t.Context()); err != nil || m.Payload != "default" {
		t.Errorf("no worker is woken: %v %v", m, err)
	}
}

func TestTasksAreSteeredLikeInAsynqmon(t *testing.T) {
	t.Parallel()
	d, _, _ := newDispatcher(t, Config{})
	p := message()
	id := job.TaskID(p.JobID, p.Delivery)
	if err := d.SendNow(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		do   func() error
		want job.Code // empty: done
	}{
		{func() error { return d.RunTask(t.Context(), "default", id) }, job.CodeConflict},
		{func() error { return d.ArchiveTask(t.Context(), "default", id) }, ""},
		{func() error { return d.ArchiveTask(t.Context(), "default", id) }, job.CodeConflict},
		{func() error { return d.RunTask(t.Context(), "default", id) }, ""},
		{func() error { return d.DeleteQueue(t.Context(), "default") }, job.CodeConflict},
		{func() error { return d.DeleteTask(t.Context(), "default", id) }, ""},
		{func() error { return d.DeleteTask(t.Context(), "default", id) }, job.CodeNotFound},
		{func() error { return d.RunTask(t.Context(), "default", id) }, job.CodeNotFound},
		{func() error { return d.ArchiveTask(t.Context(), "nothing", id) }, job.CodeNotFound},
		{func() error { return d.DeleteQueue(t.Context(), "nothing") }, job.CodeNotFound},
		{func() error { return d.CancelTask(t.Context(), id) }, ""},
		{func() error { return d.DeleteQueue(t.Context(), "default") }, ""},
	} {
		if err := step.do(); (err == nil) != (step.want == "") || err != nil && job.CodeOf(err) != step.want {
			t.Errorf("step %d: %v, want %q", i, err, step.want)
		}
	}
}

func TestTheListsOfAQueueNameTheirTasks(t *testing.T) {
	t.Parallel()
	d, server, _ := newDispatcher(t, Config{})
	want := map[job.State][]string{}
	for i := range 5 {
		now, later := message(), message(
			func(p *job.Message) { p.State, p.RunAt = job.Scheduled, time.Now().Add(time.Duration(i+1)*time.Hour) },
		)
		for _, p := range []job.Message{now, later} {
			if err := d.SendNow(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			want[p.State] = append(want[p.State], job.TaskID(p.JobID, p.Delivery))
		}
	}
	slices.Reverse(want[job.Pending]) // the one that is taken next stands last
	for _, list := range []job.State{job.Pending, job.Scheduled, job.Retry} {
		if got, err := d.TaskIDs(t.Context(), "default", list, 100); err != nil ||
			fmt.Sprint(got) != fmt.Sprint(want[list]) {
			t.Errorf("%s: %q, %v, want %q", list, got, err, want[list])
		}
	}
	if got, err := d.TaskIDs(t.Context(), "default", job.Pending, 2); err != nil ||
		!slices.Equal(got, want[job.Pending][3:]) {
		t.Errorf("of the pending ones, those taken next are %q, %v", got, err)
	}
	server.Stop()
	if _, err := d.TaskIDs(t.Context(), "default", job.Pending, 2); job.CodeOf(err) != job.CodeUnavailable {
		t.Errorf("without Redis: %v", err)
	}
	if err := d.DeleteTask(t.Context(), "default", "x"); job.CodeOf(err) != job.CodeUnavailable {
		t.Errorf("without Redis: %v", err)
	}
}
