package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
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

// refusal is what the ledger says of a statement that it does not take.
func refusal(of job.Fault) error {
	return &job.Error{Code: job.CodeUnavailable, Message: "not now", Fault: of}
}

// refusing is a ledger that takes no statement with one of these inputs, and counts how often it
// was asked.
func refusing(asked *atomic.Int32, of job.Fault, refused func(n int) bool) Flush[int, int] {
	return func(_ context.Context, in []int) ([]Result[int], error) {
		asked.Add(1)
		if slices.ContainsFunc(in, refused) {
			return nil, refusal(of)
		}
		return make([]Result[int], len(in)), nil
	}
}

// together hands n inputs over so that they are flushed in one batch, and answers what each is
// told.
func together(t *testing.T, n int, flush Flush[int, int]) (errs []error) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := New(Config{Concurrency: 1}, func(ctx context.Context, in []int) ([]Result[int], error) {
			if in[0] < 0 {
				<-gate
				return make([]Result[int], 1), nil
			}
			return flush(ctx, in)
		})
		go b.Do(context.Background(), -1)
		synctest.Wait()
		errs = make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { _, errs[i] = b.Do(context.Background(), i) })
			synctest.Wait() // so that they stand in order
		}
		close(gate)
		wg.Wait()
		b.Wait()
	})
	return errs
}

func TestTheOthersAreWrittenWhereTheLedgerRefusesSome(t *testing.T) {
	for _, of := range []job.Fault{job.FaultStatement, job.FaultContent} {
		var asked atomic.Int32
		bad := func(n int) bool { return n == 13 || n == 14 || n == 70 || n == 99 }
		for n, err := range together(t, 100, refusing(&asked, of, bad)) {
			if bad(n) != (err != nil) || err != nil && job.FaultOf(err) != of {
				t.Errorf("fault %d: %d is told %v", of, n, err)
			}
		}
	}
}

func TestALedgerThatRefusesEverythingIsNotAskedOfEach(t *testing.T) {
	for _, of := range []job.Fault{job.FaultStatement, job.FaultContent} {
		var asked atomic.Int32
		blamed := 0
		for n, err := range together(t, 500, refusing(&asked, of, func(int) bool { return true })) {
			if !errors.Is(err, job.ErrUnavailable) {
				t.Errorf("%d is told %v", n, err)
			}
			if job.FaultOf(err) == of {
				blamed++
			}
		}
		if asked.Load() > 30 || blamed != maxCulprits {
			t.Errorf("fault %d: it was asked %d times, and %d inputs are blamed", of, asked.Load(), blamed)
		}
	}
}

// What fails once alone, and not again, was no matter of content.
func TestContentIsBlamedOnlyWhereItIsRefusedAloneAndAgain(t *testing.T) {
	var asked atomic.Int32
	errs := together(t, 1, func(_ context.Context, in []int) ([]Result[int], error) {
		if asked.Add(1) == 1 {
			return nil, refusal(job.FaultContent)
		}
		return make([]Result[int], len(in)), nil
	})
	if errs[0] != nil || asked.Load() != 2 {
		t.Errorf("asked %d times: %v", asked.Load(), errs[0])
	}
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
	ba := New(
		Config{},
		func(_ context.Context, in []int) ([]Result[int], error) { return make([]Result[int], len(in)), nil },
	)
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
		// The first; two that wait; the third makes a flush worth it; one more waits.
		for i, want := range []int{1, 1, 1, 2, 2} {
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
