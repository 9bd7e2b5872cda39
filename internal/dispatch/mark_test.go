package dispatch

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/testenv"
)

func TestARedisBelongsToOneDeployment(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), testenv.Redis(t).Client(t)
	newMark := func(id string) *Mark {
		m, err := NewMark(client, id, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ours, theirs := newMark("ours"), newMark("theirs")
	if err := ours.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Check(ctx); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "--take-over") {
		t.Errorf("the second deployment is told: %v", err)
	}
	if err := errors.Join(ours.Check(ctx), ours.Err()); err != nil {
		t.Error(err)
	}
	client.FlushAll(ctx)
	if err := ours.Check(ctx); err != nil || client.Get(ctx, markKey).Val() != "ours" {
		t.Errorf("after FLUSHALL the mark is %q, %v", client.Get(ctx, markKey).Val(), err)
	}
	client.Set(ctx, watermarkKey("default"), "1", 0)
	if err := theirs.TakeOver(ctx, []string{"default"}); err != nil {
		t.Fatal(err)
	}
	if err := ours.Check(ctx); !errors.Is(err, ErrForeign) {
		t.Errorf("the deployment that had it is told: %v", err)
	}
	if n := client.Exists(ctx, watermarkKey("default")).Val(); n != 0 {
		t.Error("the watermark of the other deployment is still there")
	}
}

func TestNothingIsSentToTheRedisOfAnotherDeployment(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	client.Set(t.Context(), markKey, "theirs", 0)
	m, err := NewMark(client, "ours", testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Mark: m}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Check(t.Context())
	if err := d.SendNow(t.Context(), parcel()); !errors.Is(err, ErrForeign) {
		t.Errorf("sending answers %v", err)
	}
	if n := client.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("the other deployment's Redis has %d keys, want its mark only", n)
	}
}
