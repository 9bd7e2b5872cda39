package tasks

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

func TestOutcomesAreFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	cause := errors.New("gone")
	err := fmt.Errorf("call: %w", Permanent(fmt.Errorf("fetch: %w", cause)))
	if !IsPermanent(err) || !errors.Is(err, cause) || err.Error() != "call: fetch: gone" {
		t.Errorf("permanent: %v", err)
	}
	err = fmt.Errorf("call: %w", RetryAfter(cause, time.Minute))
	if d, ok := RetryDelay(err); !ok || d != time.Minute || !errors.Is(err, cause) || IsPermanent(err) {
		t.Errorf("retry after: %v %v %v", err, d, ok)
	}
	err = fmt.Errorf("call: %w", Snooze(time.Hour))
	if d, ok := SnoozeFor(err); !ok || d != time.Hour {
		t.Errorf("snooze: %v %v %v", err, d, ok)
	}
}

func TestOutcomesOfOrdinaryErrorsAndNil(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("x"), Permanent(nil), RetryAfter(nil, time.Hour)} {
		_, snoozed := SnoozeFor(err)
		_, delayed := RetryDelay(err)
		if IsPermanent(err) || snoozed || delayed {
			t.Errorf("%v counts as special", err)
		}
	}
	if Permanent(nil) != nil || RetryAfter(nil, 1) != nil {
		t.Error("nil became an error")
	}
	if d, _ := SnoozeFor(Snooze(-time.Hour)); d != 0 {
		t.Errorf("snoozed for %v", d)
	}
	if d, _ := RetryDelay(RetryAfter(errors.New("x"), -1)); d != 0 {
		t.Errorf("retry after %v", d)
	}
}

func TestProgressIsCutToItsBounds(t *testing.T) {
	t.Parallel()
	var percent float64
	var message string
	ctx := NewContext(t.Context(), Runtime{Progress: func(p float64, m string) { percent, message = p, m }})
	for in, want := range map[float64]float64{
		-1: 0, 0: 0, 33.5: 33.5, 100: 100, 101: 100, math.Inf(1): 100, math.Inf(-1): 0,
	} {
		if Progress(ctx, in, "m"); percent != want || message != "m" {
			t.Errorf("%v became %v %q", in, percent, message)
		}
	}
	if Progress(ctx, math.NaN(), ""); percent != 0 {
		t.Errorf("NaN became %v", percent)
	}
	Progress(t.Context(), 1, "outside of a handler")
}
