package obs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// place is a ledger or a Redis with one lease, and a clock.
type place struct {
	mu     sync.Mutex
	at     time.Time
	holder string
	until  time.Time
	down   bool
	reads  int
}

var errDown = errors.New("down")

func newPlace() *place { return &place{at: time.Now()} }

func (p *place) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = p.at.Add(d)
}

func (p *place) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *place) source(who string) Source {
	return Source{
		Name: "ledger",
		Lease: func(_ context.Context, ttl time.Duration) (bool, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.down {
				return false, errDown
			}
			if p.holder != who && p.at.Before(p.until) {
				return false, nil
			}
			p.holder, p.until = who, p.at.Add(ttl)
			return true, nil
		},
		Release: func(context.Context) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.holder == who {
				p.until = p.at
			}
			return nil
		},
		Read: func(context.Context) ([]prometheus.Metric, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.reads++
			if p.down {
				return nil, errDown
			}
			return []prometheus.Metric{gauge(prometheus.NewDesc("depth", "Depth.", nil, nil), 7)}, nil
		},
	}
}

// process is one of several that could export.
func (p *place) process(t *testing.T, who string) *Exporter {
	t.Helper()
	e := NewExporter(prometheus.NewPedanticRegistry(), p.source(who), slog.New(slog.DiscardHandler))
	e.now = p.now
	return e
}

// turn is a pass with its reading done.
func turn(t *testing.T, e *Exporter) {
	t.Helper()
	e.pass(t.Context())
	e.readers.Wait()
}

func shows(e *Exporter) bool { return testutil.CollectAndCount(e) > 0 }

func TestOneProcessExportsAndAnotherTakesOverWhenItDies(t *testing.T) {
	t.Parallel()
	p := newPlace()
	a, b := p.process(t, "a"), p.process(t, "b")
	turn(t, a)
	turn(t, b)
	if !shows(a) || shows(b) {
		t.Fatalf("a shows %v, b shows %v, want a alone", shows(a), shows(b))
	}
	p.pass(renewEvery)
	turn(t, a)
	p.pass(leaseTTL - time.Millisecond) // a is dead from here on
	turn(t, b)
	if shows(b) {
		t.Error("b exports while the lease of a holds")
	}
	p.pass(followEvery)
	turn(t, b)
	if shows(a) || !shows(b) {
		t.Errorf("a shows %v, b shows %v, want b alone", shows(a), shows(b))
	}
}

func TestTheTakeoverIsInTime(t *testing.T) {
	t.Parallel()
	if worst := leaseTTL + followEvery; worst > 13*time.Second {
		t.Errorf("it takes up to %v", worst)
	}
	if 2*renewEvery > leaseTTL {
		t.Error("one lost renewal loses the lease")
	}
}

func TestFiguresAreShownNoLongerThanTheLeaseWhenTheirSourceIsGone(t *testing.T) {
	t.Parallel()
	p := newPlace()
	a := p.process(t, "a")
	turn(t, a)
	p.set(true)
	p.pass(renewEvery)
	turn(t, a)
	if !shows(a) || testutil.ToFloat64(a.up) != 0 {
		t.Error("want the figures under the lease, and the source known to be down")
	}
	p.pass(leaseTTL)
	turn(t, a)
	if shows(a) {
		t.Error("old figures are shown as if they were new")
	}
	p.set(false)
	a.pass(t.Context()) // won anew: nothing old may be shown before the reading
	a.readers.Wait()
	if !shows(a) || testutil.ToFloat64(a.up) != 1 {
		t.Error("want the figures again")
	}
}

func TestFiguresThatCannotBeReadAreNotShown(t *testing.T) {
	t.Parallel()
	p := newPlace()
	broken := p.source("a")
	fail := false
	read := broken.Read
	broken.Read = func(ctx context.Context) ([]prometheus.Metric, error) {
		if fail {
			panic("broken")
		}
		return read(ctx)
	}
	e := NewExporter(prometheus.NewRegistry(), broken, slog.New(slog.DiscardHandler))
	e.now = p.now
	turn(t, e)
	fail = true
	p.pass(renewEvery)
	turn(t, e)
	if shows(e) || testutil.ToFloat64(e.failures) != 1 {
		t.Errorf("shows %v after %v failures", shows(e), testutil.ToFloat64(e.failures))
	}
}

func TestAReadingThatIsSlowIsFollowedByALongRest(t *testing.T) {
	t.Parallel()
	p := newPlace()
	slow := p.source("a")
	read := slow.Read
	slow.Read = func(ctx context.Context) ([]prometheus.Metric, error) {
		p.pass(time.Second)
		return read(ctx)
	}
	e := NewExporter(prometheus.NewRegistry(), slow, slog.New(slog.DiscardHandler))
	e.now = p.now
	for range 5 { // 25 s
		turn(t, e)
		p.pass(renewEvery)
	}
	if p.reads != 2 {
		t.Errorf("read %d times in 25 s, want 2: a reading of 1 s rests for 20 s", p.reads)
	}
}

func TestAnExporterThatStopsGivesItsDutyUp(t *testing.T) {
	t.Parallel()
	p := newPlace()
	a := p.process(t, "a")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for !shows(a) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil || shows(a) {
		t.Errorf("%v, shows %v", err, shows(a))
	}
	b := p.process(t, "b")
	turn(t, b)
	if !shows(b) {
		t.Error("the next has to wait")
	}
}
