package app

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/asynqredis"
	"github.com/waybill/waybill/internal/clock"
	"github.com/waybill/waybill/store"
)

func newFigures(t *testing.T) *queueCounts {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "waybill.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	nobody := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = nobody.Close() })
	return &queueCounts{
		ledger: &instrumentedLedger{Store: s},
		stats:  asynqredis.NewStats(nobody, clock.New()),
		queues: []string{"default"},
		log:    log,
	}
}

func TestFiguresAreCountedOnceForAllWhoAsk(t *testing.T) {
	t.Parallel()
	f := newFigures(t)
	first, err := f.QueueFigures(t.Context())
	if err != nil || first.Redis != nil {
		t.Fatalf("%+v %v", first, err)
	}
	for range 3 {
		if again, err := f.QueueFigures(t.Context()); err != nil || again != first {
			t.Errorf("counted again: %v", err)
		}
	}
	if held := time.Until(f.until); held < countsHold/2 {
		t.Errorf("held for %v only", held)
	}
	f.until = time.Time{}
	if next, err := f.QueueFigures(t.Context()); err != nil || next == first {
		t.Errorf("not counted again when too old: %v", err)
	}
}

func TestWhoComesWhileFiguresAreCountedGetsTheOldOnes(t *testing.T) {
	t.Parallel()
	f := newFigures(t)
	first, err := f.QueueFigures(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.until = time.Time{}
	f.counting.Lock() // as while another request counts
	if got, err := f.QueueFigures(t.Context()); err != nil || got != first {
		t.Errorf("%v %v", got, err)
	}
	f.counting.Unlock()
}

func TestFiguresMayBeAskedForByManyAtOnce(t *testing.T) {
	t.Parallel()
	f := newFigures(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got, err := f.QueueFigures(context.Background()); err != nil || got == nil {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	all.Wait()
}
