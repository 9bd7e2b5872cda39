package dispatch

import (
	"errors"
	"testing"

	"github.com/waybill/waybill/internal/redisx"
	"github.com/waybill/waybill/internal/testenv"
)

func TestNothingIsSentToTheRedisOfAnotherDeployment(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	client.Set(t.Context(), "waybill:deployment", "theirs", 0)
	m, err := redisx.NewDeploymentMark(client, "ours", testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Mark: m}, client, testenv.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Check(t.Context())
	if err := d.SendNow(t.Context(), message()); !errors.Is(err, redisx.ErrOtherDeployment) {
		t.Errorf("sending answers %v", err)
	}
	if n := client.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("the other deployment's Redis has %d keys, want its mark only", n)
	}
}
