package obs

import (
	"bytes"
	"log/slog"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyAttr draws attributes of all kinds, plain ones more often than not.
func anyAttr(t *rapid.T) slog.Attr {
	key := rapid.OneOf(rapid.SampledFrom([]string{"status", "job_id", "password", "api_key", "err", "", "a\"b", "é"}),
		rapid.StringMatching(`[a-z_]{1,12}`)).
		Draw(t, "key")
	text := rapid.OneOf(
		rapid.StringMatching(`[ -~]{0,30}`),
		rapid.String(),
		rapid.SampledFrom([]string{"redis://u:p@h", "\x7f", "a\xffb", "\u2028"}),
	)
	value := rapid.OneOf(
		rapid.Map(
			text,
			slog.StringValue,
		),
		rapid.Map(rapid.Int64(), slog.Int64Value),
		rapid.Map(rapid.Uint64(), slog.Uint64Value),
		rapid.Map(rapid.Bool(), slog.BoolValue),
		rapid.Map(rapid.Float64(), slog.Float64Value),
		rapid.Map(
			rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1e-6, 9e-7, 1e20, 1e21, 0.1, math.Inf(1), math.NaN()}),
			slog.Float64Value,
		),
		rapid.Map(rapid.Int64(), func(n int64) slog.Value { return slog.DurationValue(time.Duration(n)) }),
		rapid.Map(rapid.Int64(), func(n int64) slog.Value { return slog.TimeValue(time.Unix(n%1e9, n%1e9)) }),
		rapid.Map(text, func(s string) slog.Value { return slog.GroupValue(slog.String("in", s)) }),
		rapid.Map(text, func(s string) slog.Value { return slog.AnyValue([]string{s}) }),
	).Draw(t, "value")
	return slog.Attr{Key: key, Value: value}
}

func TestALineIsWhatSlogWouldWrite(t *testing.T) {
	t.Parallel()
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "at"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
		r := slog.NewRecord(
			at,
			slog.Level(rapid.IntRange(-6, 10).Draw(t, "level")),
			rapid.SampledFrom([]string{"request", "a\nb", ""}).Draw(t, "msg"),
			0,
		)
		r.AddAttrs(rapid.SliceOfN(rapid.Custom(anyAttr), 0, 8).Draw(t, "attrs")...)
		var want, got bytes.Buffer
		careful := slog.NewJSONHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: redact})
		if err := careful.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		h := &lineHandler{
			w:       &got,
			careful: slog.NewJSONHandler(&got, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: redact}),
		}
		if err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("got  %s\nwant %s", &got, &want)
		}
		if _, ok := appendLine(nil, r); ok {
			quick++
		}
	})
	if quick == 0 {
		t.Error("no record was plain")
	}
}
