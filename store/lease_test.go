package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func lease(t *testing.T, s *Store, who job.ID, ttl time.Duration) bool {
	t.Helper()
	held, err := s.Lease(t.Context(), "duty", who, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestADutyIsOnesUntilItRunsOutOrIsGivenUp(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		a, b := job.NewID(), job.NewID()
		first, again := lease(t, s, a, time.Hour), lease(t, s, a, time.Hour)
		if !first || !again {
			t.Error("the first cannot have and keep it")
		}
		if lease(t, s, b, time.Hour) {
			t.Error("two have it")
		}
		if err := s.Release(t.Context(), "duty", b); err != nil {
			t.Fatal(err)
		}
		if lease(t, s, b, time.Hour) {
			t.Error("somebody else gave it up")
		}
		if err := s.Release(t.Context(), "duty", a); err != nil {
			t.Fatal(err)
		}
		if !lease(t, s, b, time.Millisecond) {
			t.Error("given up, but still held")
		}
		testenv.Eventually(t, 10*time.Second, func() bool { return lease(t, s, a, time.Hour) }, "it runs out")
	})
}

func TestOfManyWhoAskAtOnceOneGetsTheDuty(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		var got atomic.Int32
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if held, err := s.Lease(t.Context(), "duty", job.NewID(), time.Hour); err != nil {
					t.Error(err)
				} else if held {
					got.Add(1)
				}
			})
		}
		all.Wait()
		if got.Load() != 1 {
			t.Errorf("%d have it, want 1", got.Load())
		}
	})
}
