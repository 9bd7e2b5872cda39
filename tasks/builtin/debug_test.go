package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

func TestEchoAnswersItsPayloadByteForByte(t *testing.T) {
	t.Parallel()
	const payload = `{"b": 1.10,  "a":12345678901234567890, "nul":"\u0000","lt":"<", "big":1e400}`
	got, err := run(t, debugEcho(), &job.Job{Payload: json.RawMessage(payload)})
	if err != nil || string(got) != payload {
		t.Errorf("got %s, %v", got, err)
	}
	c, _ := shipped(Config{}, discard())
	typ, _ := c.Lookup("debug.echo")
	if err := typ.Check(json.RawMessage(payload)); err != nil {
		t.Error(err)
	}
	if got := fieldsOf(t, typ.Check(json.RawMessage(`[1]`))); got != "/payload must be an object" {
		t.Errorf("a list: %s", got)
	}
}

func TestSleepEndsWithItsContextUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := runIn(ctx, t, debugSleep(), &job.Job{Payload: json.RawMessage(`{"duration":"1h"}`)}); !errors.Is(
		err,
		stop,
	) {
		t.Errorf("got %v", err)
	}
	got, err := runIn(
		ctx,
		t,
		debugSleep(),
		&job.Job{Payload: json.RawMessage(`{"duration":"20ms","ignore_cancel":true}`)},
	)
	if err != nil || string(got) != `{"slept":"20ms"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestSleepReportsProgress(t *testing.T) {
	t.Parallel()
	var seen []float64
	ctx := tasks.NewContext(t.Context(), tasks.Runtime{
		Progress: func(percent float64, _ string) { seen = append(seen, percent) },
	})
	if _, err := runIn(ctx, t, debugSleep(), &job.Job{Payload: json.RawMessage(`{"duration":"1200ms"}`)}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0] < 70 || seen[0] > 100 {
		t.Errorf("reported %v", seen)
	}
}

func TestSleepChecksItsDuration(t *testing.T) {
	t.Parallel()
	c, _ := shipped(Config{}, discard())
	typ, _ := c.Lookup("debug.sleep")
	for _, d := range []string{"1h1s", "-1s", "3", "x", "1e9h", "99999999h", "3s\\u0000"} {
		if got := fieldsOf(t, typ.Check(json.RawMessage(`{"duration":"`+d+`"}`))); !strings.HasPrefix(
			got,
			"/payload/duration ",
		) {
			t.Errorf("%s: %s", d, got)
		}
	}
	for _, d := range []string{"0s", "1h", "1m30s", "1.5s", "20ms"} {
		if err := typ.Check(json.RawMessage(`{"duration":"` + d + `"}`)); err != nil {
			t.Errorf("%s: %s", d, fieldsOf(t, err))
		}
	}
}

func TestFailFailsAsTold(t *testing.T) {
	t.Parallel()
	fails := func(payload string, failures int) (string, error) {
		got, err := run(t, debugFail(), &job.Job{Failures: failures, Payload: json.RawMessage(payload)})
		return string(got), err
	}
	if _, err := fails(`{}`, 1000); err == nil || tasks.IsPermanent(err) {
		t.Errorf("always: %v", err)
	}
	if _, err := fails(`{"times":2,"message":"boom"}`, 1); err == nil || err.Error() != "boom" {
		t.Errorf("the second of two: %v", err)
	}
	if got, err := fails(`{"times":2}`, 2); err != nil || got != `{"failures":2}` {
		t.Errorf("after two of two: %s, %v", got, err)
	}
	if got, err := fails(`{"times":0,"panic":true}`, 0); err != nil || got != `{"failures":0}` {
		t.Errorf("never: %s, %v", got, err)
	}
	if _, err := fails(`{"permanent":true}`, 0); !tasks.IsPermanent(err) {
		t.Errorf("permanent: %v", err)
	}
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("panicked with %v", p)
		}
	}()
	_, _ = fails(`{"panic":true,"message":"boom"}`, 0)
}

func TestSleepIsInTime(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if _, err := run(t, debugSleep(), &job.Job{Payload: json.RawMessage(`{"duration":"50ms"}`)}); err != nil ||
		time.Since(start) < 50*time.Millisecond {
		t.Errorf("slept %v: %v", time.Since(start), err)
	}
}
