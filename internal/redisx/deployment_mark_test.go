package redisx

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
	newMark := func(id string) *DeploymentMark {
		m, err := NewDeploymentMark(client, id, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ours, theirs := newMark("ours"), newMark("theirs")
	if err := ours.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Check(ctx); !errors.Is(err, ErrOtherDeployment) || !strings.Contains(err.Error(), "--take-over") {
		t.Errorf("the second deployment is told: %v", err)
	}
	if err := errors.Join(ours.Check(ctx), ours.Err()); err != nil {
		t.Error(err)
	}
	client.FlushAll(ctx)
	if err := ours.Check(ctx); err != nil || client.Get(ctx, markKey).Val() != "ours" {
		t.Errorf("after FLUSHALL the mark is %q, %v", client.Get(ctx, markKey).Val(), err)
	}
	client.Set(ctx, "watermark", "1", 0)
	if err := theirs.TakeOver(ctx, []string{"watermark"}); err != nil {
		t.Fatal(err)
	}
	if err := ours.Check(ctx); !errors.Is(err, ErrOtherDeployment) {
		t.Errorf("the deployment that had it is told: %v", err)
	}
	if n := client.Exists(ctx, "watermark").Val(); n != 0 {
		t.Error("the watermark of the other deployment is still there")
	}
}
