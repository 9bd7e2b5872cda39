package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
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

func TestProgressIsBroughtInsideItsBounds(t *testing.T) {
	t.Parallel()
	var got job.Progress
	ctx := WithProgress(t.Context(), func(p job.Progress) { got = p })
	for in, want := range map[float64]float64{-1: 0, 0: 0, 33.5: 33.5, 100: 100, 101: 100, math.Inf(1): 100, math.Inf(-1): 0} {
		if Progress(ctx, in, "m"); got.Percent != want || got.Message != "m" {
			t.Errorf("%v became %+v", in, got)
		}
	}
	if Progress(ctx, math.NaN(), "a\x00b\xff"+strings.Repeat("x", 5000)); got.Percent != 0 || len(got.Message) > job.MaxText || strings.ContainsRune(got.Message, 0) {
		t.Errorf("became %v, %d bytes", got.Percent, len(got.Message))
	}
	Progress(context.Background(), 1, "nobody listens")
	Progress(WithProgress(t.Context(), nil), 1, "nobody listens")
}
