package taskstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/taskstest"
)

type resize struct {
	Width int `json:"width"`
}

type resized struct {
	Bytes int `json:"bytes"`
}

var resizeImage = tasks.Definition[resize, resized]{Name: "image.resize", Queue: "low", MaxRetries: 2}

func handler(fn func(context.Context, *tasks.Job[resize]) (resized, error)) tasks.Handler[resize, resized] {
	return resizeImage.Handle(fn)
}

func TestRunAnswersTheTypedResultAndTheProgress(t *testing.T) {
	t.Parallel()
	out := taskstest.Run(t, handler(func(ctx context.Context, j *tasks.Job[resize]) (resized, error) {
		tasks.Log(ctx).Info("resizing", "width", j.Payload.Width)
		tasks.Progress(ctx, 50, "half")
		if j.Type != "image.resize" || j.Queue != "low" || j.Attempt != 1 || j.MaxRetries != 2 || j.ID.IsZero() {
			t.Errorf("the handler was told %+v", j.Info)
		}
		return resized{j.Payload.Width * 2}, nil
	}), resize{21})
	if out.State != taskstest.Completed || out.Err != nil || out.Result.Bytes != 42 {
		t.Errorf("got %+v", out)
	}
	if len(out.Progress) != 1 || out.Progress[0] != (taskstest.Progress{Percent: 50, Message: "half"}) {
		t.Errorf("progress %+v", out.Progress)
	}
}

func TestRunTellsHowAnAttemptEnds(t *testing.T) {
	t.Parallel()
	failing := func(err error, opts ...taskstest.Option) taskstest.Outcome[resized] {
		return taskstest.Run(
			t,
			handler(func(context.Context, *tasks.Job[resize]) (resized, error) { return resized{}, err }),
			resize{},
			opts...)
	}
	boom := errors.New("boom")
	if out := failing(boom); out.State != taskstest.Retry || !errors.Is(out.Err, boom) || out.RetryIn != 0 {
		t.Errorf("a failure: %+v", out)
	}
	if out := failing(tasks.RetryAfter(boom, time.Hour)); out.State != taskstest.Retry || out.RetryIn != time.Hour {
		t.Errorf("a failure with a delay: %+v", out)
	}
	last := taskstest.Info(func(i *tasks.Info) { i.Failures = 2 })
	if out := failing(boom, last); out.State != taskstest.Archived {
		t.Errorf("the last failure: %+v", out)
	}
	if out := failing(tasks.Permanent(boom)); out.State != taskstest.Archived {
		t.Errorf("a permanent failure: %+v", out)
	}
	if out := failing(tasks.Snooze(time.Minute), last); out.State != taskstest.Scheduled || out.Snoozed != time.Minute {
		t.Errorf("a snooze: %+v", out)
	}
}

func TestAPanicIsAFailureWithItsStack(t *testing.T) {
	t.Parallel()
	out := taskstest.Run(
		t,
		handler(func(context.Context, *tasks.Job[resize]) (resized, error) { panic("boom") }),
		resize{},
	)
	if out.State != taskstest.Retry || out.Err == nil || out.Err.Error() != "panic: boom" ||
		!strings.Contains(out.Stack, "taskstest_test.go") {
		t.Errorf("got %+v", out)
	}
}

func TestMiddlewaresRunAndSeeTheJob(t *testing.T) {
	t.Parallel()
	var order []string
	wrap := func(name string) tasks.Middleware {
		return func(next tasks.RawFunc) tasks.RawFunc {
			return func(ctx context.Context, info tasks.Info, payload json.RawMessage) (json.RawMessage, error) {
				order = append(order, name+" "+info.Type+" "+string(payload))
				return next(ctx, info, payload)
			}
		}
	}
	h := resizeImage.Handle(
		func(context.Context, *tasks.Job[resize]) (resized, error) { return resized{}, nil },
		wrap("type"),
	)
	taskstest.Run(t, h, resize{1}, taskstest.Use(wrap("first"), wrap("second")))
	want := `first image.resize {"width":1},second image.resize {"width":1},type image.resize {"width":1}`
	if got := strings.Join(order, ","); got != want {
		t.Errorf("got %s", got)
	}
}

func TestTheHandlerRunsUnderTheContextGiven(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	out := taskstest.Run(t, handler(func(ctx context.Context, _ *tasks.Job[resize]) (resized, error) {
		return resized{}, context.Cause(ctx)
	}), resize{}, taskstest.Context(ctx))
	if !errors.Is(out.Err, stop) {
		t.Errorf("got %v", out.Err)
	}
}
