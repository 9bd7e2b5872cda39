package redisx

import (
	"testing"

	"github.com/waybill/waybill/internal/testenv"
)

func TestRedisTellsItsMemory(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t, "--maxmemory", "64mb").Client(t)
	m, err := Memory(t.Context(), client)
	if err != nil || m.Used <= 0 || m.Limit != 64<<20 {
		t.Errorf("got %+v, %v", m, err)
	}
}
