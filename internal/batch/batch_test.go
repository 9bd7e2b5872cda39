package batch

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/waybill/waybill/internal/job"
)

// double answers twice each input, once gate lets it.
func double(gate <-chan struct{}, sizes chan<- int) Flush[int, int] {
	return func(_ context.Context, in []int) ([]Result[int], error) {
		sizes <- len(in)
		<-gate
		out := make([]Result[int], len(in))
		for i, n := range in {
			out[i].Value = 2 * n
		}
		return out, nil
	}
}

func TestCallsCollectWhileAFlushIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, sizes := make(chan struct{}), make(chan int, 10)
		b := New(Config{Concurrency: 1, Max: 4}, double(gate, sizes))
		var wg sync.WaitGroup
		do := func(n int) {
			wg.Go(func() {
				if got, err := b.Do(context.Background(), n); got != 2*n || err != nil {
					t.Errorf("Do(%d) = %d, %v", n, got, err)
				}
			})
		}
		do(1)
		synctest.Wait() // the first is on its way, alone
		for n := range 6 {
			do(n)
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		b.Wait()
		close(sizes)
		var got []int
		for n := range sizes {
			got = append(got, n)
		}
		if len(got) != 3 || got[0] != 1 || got[1] != 4 || got[2] != 2 {
			t.Errorf("flushes of %v, want [1 4 2]", got)
		}
	})
}

func TestNobodyFailsForAnothersInput(t *testing.T) {
	bad := errors.New("unlucky")
	flush := func(_ context.Context, in []int) ([]Result[int], error) {
		for _, n := range in {
			if n == 13 {
				return nil, bad
			}
		}
		return make([]Result[int], len(in)), nil
	}
	b := New(Config{Concurrency: 1}, flush)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if _, err := b.Do(context.Background(), n); (n == 13) != errors.Is(err, bad) {
				t.Errorf("Do(%d) answered %v", n, err)
			}
		})
	}
	wg.Wait()
}

func TestAnUnreachableLedgerIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, asked := make(chan struct{}), 0
		b := New(Config{Concurrency: 1}, func(context.Context, []int) ([]Result[int], error) {
			asked++
			<-gate
			return nil, job.Unavailable("gone", nil)
		})
		for range 9 {
			go func() {
				if _, err := b.Do(context.Background(), 1); !errors.Is(err, job.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			}()
		}
		synctest.Wait()
		close(gate)
		b.Wait()
		if asked > 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestACallerWhoLeavesDoesNotTakeHisInputAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, sizes := make(chan struct{}), make(chan int, 1)
		b := New(Config{}, double(gate, sizes))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := b.Do(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(gate)
		b.Wait()
		if <-sizes != 1 {
			t.Error("his input was not flushed")
		}
	})
}

func TestMoreThanTheBoundIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, sizes := make(chan struct{}), make(chan int, 10)
		b := New(Config{Concurrency: 1, Waiting: 2}, double(gate, sizes))
		for range 3 {
			go b.Do(context.Background(), 1)
			synctest.Wait()
		}
		if _, err := b.Do(context.Background(), 1); !errors.Is(err, job.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		close(gate)
		b.Wait()
	})
}

func TestAPanicFailsItsCallersOnly(t *testing.T) {
	b := New(Config{}, func(context.Context, []int) ([]Result[int], error) { panic("boom") })
	if _, err := b.Do(context.Background(), 1); !errors.Is(err, errPanic) {
		t.Errorf("got %v", err)
	}
	b.Wait()
}

func BenchmarkDo(b *testing.B) {
	ba := New(Config{}, func(_ context.Context, in []int) ([]Result[int], error) { return make([]Result[int], len(in)), nil })
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			ba.Do(context.Background(), 1)
		}
	})
}

func TestASecondFlushSetsOutOnlyWhenItIsWorthIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, sizes := make(chan struct{}), make(chan int, 10)
		b := New(Config{Concurrency: 2, Worth: 3}, double(gate, sizes))
		var wg sync.WaitGroup
		do := func(n int) {
			wg.Go(func() {
				if got, err := b.Do(context.Background(), n); got != 2*n || err != nil {
					t.Errorf("Do(%d) = %d, %v", n, got, err)
				}
			})
			synctest.Wait()
		}
		for i, want := range []int{1, 1, 1, 2, 2} { // the first; two that wait; the third makes a flush worth it; one more waits
			do(i)
			if got := len(sizes); got != want {
				t.Fatalf("after %d calls %d flushes are on their way, want %d", i+1, got, want)
			}
		}
		close(gate)
		wg.Wait()
		b.Wait()
		close(sizes)
		var got []int
		for n := range sizes {
			got = append(got, n)
		}
		if len(got) != 3 || got[0] != 1 || got[1] != 3 || got[2] != 1 {
			t.Errorf("flushes of %v, want [1 3 1]", got)
		}
	})
}
