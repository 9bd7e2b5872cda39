package schedule

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	people "github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// bench is a Service over a real ledger.
type bench struct {
	*Service
	t          *testing.T
	store      *store.Store
	dispatcher *fakeDispatcher
	misfit     map[string]error // by task type
}

// forEachEngine runs a test on PostgreSQL and on SQLite.
func forEachEngine(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, newBench(t, testenv.Postgres(t)))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, newBench(t, "sqlite:"+filepath.Join(t.TempDir(), "waybill.db")))
	})
}

func newBench(t *testing.T, url string) *bench {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: s, dispatcher: &fakeDispatcher{}, misfit: map[string]error{}}
	b.Service, err = New(
		Config{},
		Deps{
			Ledger:     s,
			Dispatcher: b.dispatcher,
			Log:        testenv.Logger(t),
			Fits:       func(s job.Submission) error { return b.misfit[s.Type] },
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type fakeDispatcher struct {
	mu                        sync.Mutex
	sent, withdrawn, signaled []job.ID
}

func (c *fakeDispatcher) Send(p ...job.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range p {
		c.sent = append(c.sent, p.JobID)
	}
}

func (c *fakeDispatcher) Withdraw(p job.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withdrawn = append(c.withdrawn, p.JobID)
}

func (c *fakeDispatcher) SignalCancel(id job.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signaled = append(c.signaled, id)
}

// spec is a valid schedule; change what the test is about.
func spec(change ...func(*job.Schedule)) job.Schedule {
	s := job.Schedule{OwnerID: job.NewID(), Name: "nightly", Timing: job.Timing{Every: time.Hour, Timezone: "UTC"},
		Missed: job.MissedLatest, MissedWindow: 24 * time.Hour, Overlap: job.OverlapAllow,
		Job: job.Submission{
			Type:    "debug.echo",
			Queue:   "default",
			Payload: json.RawMessage(`{"at": "{{planned_at}}"}`),
			Labels:  map[string]string{"a": "b"},
			Policy: job.Policy{
				MaxRetries: 3,
				Timeout:    30 * time.Second,
				Backoff:    job.Backoff{Kind: job.Exponential, Base: time.Second, Max: time.Minute},
			},
		}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func (b *bench) create(change ...func(*job.Schedule)) *job.Schedule {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), spec(change...))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// rewind sets a schedule's next planned time so long ago, as if no worker had run since.
func (b *bench) rewind(s *job.Schedule, ago time.Duration) {
	b.t.Helper()
	_, err := b.store.ChangeSchedule(
		b.t.Context(),
		s.ID,
		func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
			read, err := readTiming(due.Timing, due.CreatedAt)
			if err != nil {
				return job.ScheduleDecision{}, err
			}
			due.NextAt = read.next(now.Add(-ago))
			return job.ScheduleDecision{Schedule: due.Schedule}, nil
		},
	)
	if err != nil {
		b.t.Fatal(err)
	}
}

// settle lets the loop's pass do all there is to do.
func (b *bench) settle() {
	b.t.Helper()
	for {
		if n, err := b.decideDue(b.t.Context()); err != nil {
			b.t.Fatal(err)
		} else if n == 0 {
			return
		}
	}
}

// ticks of a schedule, oldest first.
func (b *bench) ticks(s *job.Schedule) []job.Tick {
	b.t.Helper()
	list, err := b.store.Ticks(b.t.Context(), job.TickFilter{ScheduleID: s.ID, Limit: 100_000})
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

func outcomes(ticks []job.Tick) []job.Outcome {
	var list []job.Outcome
	for _, t := range ticks {
		list = append(list, t.Outcome)
	}
	return list
}

func (b *bench) job(id job.ID) *job.Job {
	b.t.Helper()
	j, err := b.store.Job(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return j
}

func (b *bench) read(s *job.Schedule) *job.Schedule {
	b.t.Helper()
	got, err := b.store.Schedule(b.t.Context(), s.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// finish completes a job as a worker does.
func (b *bench) finish(id job.ID) {
	b.t.Helper()
	if j := b.job(id); j.State.Finished() {
		return
	}
	b.claim(id)
	j := b.job(id)
	worker, err := job.ParseID(j.Worker)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := b.store.Settle(
		b.t.Context(),
		[]*job.Settlement{
			{JobID: id, Attempt: j.Attempt, Delivery: j.Delivery, WorkerID: worker, State: job.Completed},
		},
	)
	if err != nil || !out[0].Accepted {
		b.t.Fatalf("settle: %+v, %v", out, err)
	}
}

func (b *bench) claim(id job.ID) {
	b.t.Helper()
	j := b.job(id)
	if j.State == job.Active {
		return
	}
	c, err := b.store.Claim(b.t.Context(), []job.ClaimRequest{{JobID: id, Delivery: j.Delivery, WorkerID: job.NewID()}})
	if err != nil || c[0].Decision != job.Run {
		b.t.Fatalf("claim: %+v, %v", c, err)
	}
}

func every(d time.Duration) func(*job.Schedule) { return func(s *job.Schedule) { s.Every = d } }

func overlap(p job.OverlapPolicy) func(*job.Schedule) {
	return func(s *job.Schedule) { s.Overlap = p }
}

func missed(p job.MissedPolicy) func(*job.Schedule) {
	return func(s *job.Schedule) { s.Missed = p }
}

func TestATickMakesAnOrdinaryJobOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(every(time.Minute))
		b.rewind(s, 0)
		b.settle()
		if got := b.ticks(s); len(got) != 0 {
			t.Fatalf("early: %+v", got)
		}
		b.rewind(s, time.Minute)
		planned := b.read(s).NextAt
		b.settle()
		b.settle()
		ticks := b.ticks(s)
		if len(ticks) != 1 || !ticks[0].PlannedAt.Equal(planned) || ticks[0].DecidedAt.Before(planned) {
			t.Fatalf("ticks: %+v, planned %v", ticks, planned)
		}
		j := b.job(ticks[0].JobID)
		if j.State != job.Pending || j.OwnerID != s.OwnerID || j.Type != "debug.echo" || j.Queue != "default" ||
			j.MaxRetries != 3 || j.Timeout != 30*time.Second ||
			j.Labels["a"] != "b" ||
			j.Labels[job.ScheduleLabel] != "nightly" ||
			string(j.Payload) != `{"at": "`+planned.Format(time.RFC3339)+`"}` {
			t.Errorf("job: %+v %s", j, j.Payload)
		}
		if next := b.read(s).NextAt; !next.Equal(planned.Add(time.Minute)) {
			t.Errorf("next %v, want a minute after %v", next, planned)
		}
		if !slices.Equal(b.dispatcher.sent, []job.ID{j.ID}) {
			t.Errorf("sent %v", b.dispatcher.sent)
		}
		if list, err := b.store.Jobs(t.Context(),
			job.Filter{Labels: map[string]string{job.ScheduleLabel: "nightly"}, Limit: 10}); err != nil ||
			len(list) != 1 {
			t.Errorf("by label: %v, %v", list, err)
		}
	})
}

// Ten minutes without any process, a tick each two minutes: five planned times, and now.
func TestMissedTimesFollowThePolicyAndTheRowsSayWhatHappened(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		const m, c = job.Missed, job.CaughtUp
		for _, want := range []struct {
			policy job.MissedPolicy
			window time.Duration
			rows   []job.Outcome
		}{
			{job.MissedSkip, time.Hour, []job.Outcome{m, m, m, m, m}},
			{job.MissedLatest, time.Hour, []job.Outcome{m, m, m, m, c}},
			{job.MissedAll, time.Hour, []job.Outcome{c, c, c, c, c}},
			{job.MissedAll, 5 * time.Minute, []job.Outcome{m, m, m, c, c}},
			{job.MissedLatest, 30 * time.Second, []job.Outcome{m, m, m, m, m}},
		} {
			now, err := b.store.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := b.create(every(2*time.Minute), missed(want.policy), func(s *job.Schedule) {
				s.OwnerID, s.MissedWindow = job.NewID(), want.window
				// The last planned time was a minute ago.
				s.StartAt = now.Truncate(time.Second).Add(time.Minute - 20*time.Minute)
			})
			b.rewind(s, 10*time.Minute)
			b.settle()
			got := b.ticks(s)
			if !slices.Equal(outcomes(got), want.rows) {
				t.Errorf("%s within %v: %v, want %v", want.policy, want.window, outcomes(got), want.rows)
			}
			for i, tick := range got {
				if tick.JobID.IsZero() != (tick.Outcome == m) {
					t.Errorf("%s: %+v", want.policy, tick)
				}
				if i > 0 && tick.PlannedAt.Sub(got[i-1].PlannedAt) != 2*time.Minute {
					t.Errorf("a gap before %+v", tick)
				}
			}
			if next := b.read(s).NextAt; !next.After(now) {
				t.Errorf("next is %v", next)
			}
		}
	})
}

func TestOverlapFollowsThePolicy(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		// two ticks that are due at once and on time, then, with their jobs finished, a third
		for policy, want := range map[job.OverlapPolicy]struct {
			rows   []job.Outcome
			states []job.State // of their jobs after the second tick; empty: none
		}{
			job.OverlapAllow:  {[]job.Outcome{job.Fired, job.Fired, job.Fired}, []job.State{job.Active, job.Pending}},
			job.OverlapSkip:   {[]job.Outcome{job.Fired, job.SkippedOverlap, job.Fired}, []job.State{job.Active, ""}},
			job.OverlapBuffer: {[]job.Outcome{job.Fired, job.Buffered, job.Fired}, []job.State{job.Active, ""}},
			job.OverlapCancel: {[]job.Outcome{job.Fired, job.Fired, job.Fired}, []job.State{job.Active, job.Pending}},
		} {
			s := b.create(every(time.Second), overlap(policy))
			b.step(s)
			b.claim(b.ticks(s)[0].JobID)
			b.step(s)
			ticks := b.ticks(s)
			for i, state := range want.states {
				if got := ticks[i].JobID; got.IsZero() != (state == "") || state != "" && b.job(got).State != state {
					t.Errorf("%s: after two ticks %+v", policy, ticks)
				}
			}
			first := b.job(ticks[0].JobID)
			if asked := !first.CancelRequestedAt.IsZero(); asked != (policy == job.OverlapCancel) {
				t.Errorf("%s: cancel asked %v", policy, asked)
			}
			b.finish(first.ID)
			b.settle()
			for _, tick := range b.ticks(s) {
				if !tick.JobID.IsZero() {
					b.finish(tick.JobID)
				}
			}
			b.step(s)
			if got := b.ticks(s); !slices.Equal(outcomes(got), want.rows) {
				t.Errorf("%s: %v, want %v", policy, outcomes(got), want.rows)
			}
		}
		if len(b.dispatcher.signaled) != 1 {
			t.Errorf("signaled %v", b.dispatcher.signaled)
		}
	})
}

// step makes exactly one planned time due, and decides it.
func (b *bench) step(s *job.Schedule) {
	b.t.Helper()
	_, err := b.commit(
		b.store.ChangeSchedule(
			b.t.Context(),
			s.ID,
			func(now time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
				read, err := readTiming(due.Timing, due.CreatedAt)
				if err != nil {
					return job.ScheduleDecision{}, err
				}
				return newDecision(due, read, due.NextAt, fullBudget()).decide(), nil
			},
		),
	)
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestABufferedTimeWaitsForTheRunningJobAndOnlyOneDoes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(every(time.Minute), overlap(job.OverlapBuffer))
		for range 4 {
			b.step(s)
		}
		if got := outcomes(b.ticks(s)); !slices.Equal(
			got,
			[]job.Outcome{job.Fired, job.Buffered, job.SkippedOverlap, job.SkippedOverlap},
		) {
			t.Fatal(got)
		}
		b.settle()
		if tick := b.ticks(s)[1]; !tick.JobID.IsZero() {
			t.Fatalf("released beside a running job: %+v", tick)
		}
		b.finish(b.ticks(s)[0].JobID)
		b.settle()
		tick := b.ticks(s)[1]
		if tick.JobID.IsZero() || tick.Outcome != job.Buffered || b.job(tick.JobID).State != job.Pending {
			t.Fatalf("not released: %+v", tick)
		}
		b.step(s)
		if got := b.read(s); !got.BufferedAt.Equal(b.ticks(s)[4].PlannedAt) {
			t.Errorf("the released job blocks the next one: %+v", got)
		}
		if _, err := b.Pause(t.Context(), s.ID, "ann@example.com", "enough"); err != nil {
			t.Fatal(err)
		}
		if got := b.ticks(s)[4]; got.Outcome != job.SkippedOverlap || !b.read(s).BufferedAt.IsZero() {
			t.Errorf("paused: %+v", got)
		}
	})
}

func TestChangesTakeEffectForTheNextTick(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		s := b.create(every(time.Minute))
		b.rewind(s, time.Minute)
		paused, err := b.Pause(ctx, s.ID, "ann@example.com", "the report is broken")
		if err != nil || !paused.NextAt.IsZero() || paused.PausedBy != "ann@example.com" ||
			paused.PauseReason != "the report is broken" {
			t.Fatalf("%+v, %v", paused, err)
		}
		if got := outcomes(b.ticks(s)); len(got) != 1 || got[0] == job.Missed {
			t.Fatalf("what was due before the pause: %v", got)
		}
		b.settle()
		resumed, err := b.Resume(ctx, s.ID)
		if err != nil || resumed.NextAt.IsZero() || !resumed.PausedAt.IsZero() || len(b.ticks(s)) != 1 {
			t.Fatalf("%+v, %v", resumed, err)
		}
		changed, err := b.Change(ctx, s.ID, func(s *job.Schedule) error {
			s.Every, s.Cron, s.Timezone, s.Job.Payload = 0, "0 3 * * *", "Europe/Berlin", json.RawMessage(`{"b":1}`)
			return nil
		})
		if err != nil || changed.NextAt.In(Zone("Europe/Berlin")).Hour() != 3 {
			t.Fatalf("%+v, %v", changed, err)
		}
		if got := b.read(s); got.Cron != "0 3 * * *" || got.Every != 0 || string(got.Job.Payload) != `{"b":1}` ||
			got.Revision <= s.Revision ||
			!got.NextAt.Equal(changed.NextAt) {
			t.Errorf("%+v", got)
		}
		if _, err := b.Change(ctx, s.ID, func(s *job.Schedule) error { s.Cron = "nonsense"; return nil }); !errors.Is(
			err,
			job.ErrInvalid,
		) {
			t.Errorf("nonsense: %v", err)
		}
		if _, err := b.Delete(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Schedule(ctx, s.ID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		if _, err := b.Pause(ctx, s.ID, "x", ""); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("pause of a deleted one: %v", err)
		}
		if len(b.ticks(s)) != 1 {
			t.Error("the ticks went with their schedule")
		}
	})
}

func TestAScheduleWhoseJobCannotBeRunIsPausedAndRecorded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(every(time.Minute))
		b.rewind(s, 2*time.Minute)
		b.misfit["debug.echo"] = errors.New("the payload does not fit debug.echo")
		b.plan = newPlanner(b.deps.Fits) // another process, of another version
		b.settle()
		got := b.read(s)
		if got.PausedBy != job.ByItself || got.PauseReason != "the payload does not fit debug.echo" ||
			!got.NextAt.IsZero() {
			t.Fatalf("%+v", got)
		}
		for _, o := range outcomes(b.ticks(s)) {
			if o != job.Missed {
				t.Errorf("fired all the same: %v", b.ticks(s))
			}
		}
		if _, err := b.Resume(t.Context(), s.ID); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("resume: %v", err)
		}
		if _, _, err := b.Trigger(t.Context(), s.ID, ""); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("trigger: %v", err)
		}
		delete(b.misfit, "debug.echo")
		b.plan = newPlanner(b.deps.Fits)
		if back, err := b.Resume(t.Context(), s.ID); err != nil || back.NextAt.IsZero() {
			t.Errorf("%+v, %v", back, err)
		}
	})
}

func TestTriggeringMakesAJobNow(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(overlap(job.OverlapSkip))
		before := b.read(s).NextAt
		for range 2 {
			tick, _, err := b.Trigger(t.Context(), s.ID, "")
			if err != nil || tick.Outcome != job.Triggered || b.job(tick.JobID).State != job.Pending {
				t.Fatalf("%+v, %v", tick, err)
			}
		}
		b.step(s)
		if got := outcomes(b.ticks(s)); !slices.Equal(
			got,
			[]job.Outcome{job.Triggered, job.Triggered, job.SkippedOverlap},
		) ||
			!b.ticks(s)[2].PlannedAt.Equal(before) {
			t.Errorf("%v", b.ticks(s))
		}
	})
}

func TestOneRequestTriggersOnceHoweverOftenItIsRepeated(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s, other := b.create(), b.create()
		var wg sync.WaitGroup
		first := make([]*job.Tick, 20)
		fresh := make(chan int, len(first))
		for i := range first {
			wg.Go(func() {
				tick, replayed, err := b.Trigger(t.Context(), s.ID, "key")
				if err != nil {
					t.Error(err)
				} else if first[i] = tick; !replayed {
					fresh <- i
				}
			})
		}
		wg.Wait()
		if len(fresh) != 1 || len(b.dispatcher.sent) != 1 || len(b.ticks(s)) != 1 || t.Failed() {
			t.Fatalf(
				"%d of %d were the first, %d jobs were sent: %v",
				len(fresh),
				len(first),
				len(b.dispatcher.sent),
				b.ticks(s),
			)
		}
		for _, tick := range first {
			if *tick != b.ticks(s)[0] {
				t.Errorf("%+v, want %+v", tick, b.ticks(s)[0])
			}
		}
		for _, another := range []struct {
			of  *job.Schedule
			key string
		}{{s, "other key"}, {other, "key"}, {s, ""}, {s, ""}} {
			if tick, replayed, err := b.Trigger(t.Context(), another.of.ID, another.key); err != nil || replayed ||
				tick.JobID == first[0].JobID {
				t.Errorf("%+v, replayed %v, %v", tick, replayed, err)
			}
		}
		b.misfit["debug.echo"] = errors.New("the payload does not fit any more")
		if tick, replayed, err := b.Trigger(t.Context(), s.ID, "key"); err != nil || !replayed || *tick != *first[0] {
			t.Errorf("%+v, replayed %v, %v", tick, replayed, err)
		}
	})
}

func TestABackfillMakesWhatIsMissingAndNothingTwice(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		s := b.create(every(time.Minute), missed(job.MissedSkip))
		b.rewind(s, 5*time.Minute)
		b.settle() // rows without jobs
		now, err := b.store.Now(ctx)
		if err != nil {
			t.Fatal(err)
		}
		fill := Backfill{From: now.Add(-20 * time.Minute), To: now, Spacing: time.Second, DryRun: true}
		dry, err := b.Backfill(ctx, s.ID, fill)
		if err != nil || dry.Made < 19 || dry.Made > 20 || len(b.dispatcher.sent) > 1 {
			t.Fatalf("dry: %+v, %v", dry, err)
		}
		fill.DryRun = false
		done, err := b.Backfill(ctx, s.ID, fill)
		if err != nil || done.Made != dry.Made || !done.First.Equal(dry.First) || !done.Last.Equal(dry.Last) {
			t.Fatalf("%+v, %v, want %+v", done, err, dry)
		}
		var last time.Time
		for i, tick := range b.ticks(s)[:done.Made] {
			j := b.job(tick.JobID)
			// The first one is due, and runs at the ledger's now.
			if tick.Outcome != job.Backfilled || i > 1 && j.RunAt.Sub(last) != time.Second {
				t.Fatalf("%d: %+v runs at %v, the one before at %v", i, tick, j.RunAt, last)
			}
			last = j.RunAt
		}
		if again, err := b.Backfill(ctx, s.ID, fill); err != nil || again.Made != 0 || again.Present < done.Made {
			t.Errorf("again: %+v, %v", again, err)
		}
		for _, wrong := range []Backfill{{From: now, To: now.Add(time.Hour)}, {From: now.AddDate(-1, 0, 0), To: now}} {
			if _, err := b.Backfill(ctx, s.ID, wrong); !errors.Is(err, job.ErrInvalid) {
				t.Errorf("%+v: %v", wrong, err)
			}
		}
	})
}

func TestJitterDelaysTheJobAndNotTheTick(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(every(time.Hour), func(s *job.Schedule) { s.Jitter = 30 * time.Minute })
		b.rewind(s, time.Hour)
		planned := b.read(s).NextAt
		want := planned.Add(jitter(s.ID, planned, s.Jitter))
		b.step(s)
		if j := b.job(b.ticks(s)[0].JobID); want.After(time.Now()) && !j.RunAt.Equal(want) ||
			want.Sub(planned) >= s.Jitter {
			t.Errorf("runs at %v, want %v", j.RunAt, want)
		}
	})
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "sqlite:"+filepath.Join(t.TempDir(), "waybill.db"))
	b.cfg.MinInterval = time.Minute
	b.misfit["bad"] = job.Invalid("/payload/url", "is required")
	for pointer, change := range map[string]func(*job.Schedule){
		"/cron":            func(s *job.Schedule) { s.Every, s.Cron = 0, "*/30 * * * * *" },
		"/every":           func(s *job.Schedule) { s.Every = 30 * time.Second },
		"/timezone":        func(s *job.Schedule) { s.Timezone = "Nowhere" },
		"/jitter":          func(s *job.Schedule) { s.Jitter = 2 * time.Hour },
		"/end_at":          func(s *job.Schedule) { s.StartAt, s.EndAt = time.Now().Add(time.Hour), time.Now() },
		"/missed_window":   func(s *job.Schedule) { s.MissedWindow = -1 },
		"/job/payload/url": func(s *job.Schedule) { s.Job.Type = "bad" },
		"/job/labels":      func(s *job.Schedule) { s.Job.Labels = map[string]string{job.ScheduleLabel: "x"} },
		"/job/payload":     func(s *job.Schedule) { s.Job.Payload = make(json.RawMessage, job.MaxPayload+1) },
	} {
		_, err := b.Create(t.Context(), spec(change))
		var e *job.Error
		if !errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Pointer != pointer {
			t.Errorf("%s: %v %+v", pointer, err, e)
		}
	}
	if _, err := b.Create(t.Context(), spec(func(s *job.Schedule) { s.EndAt = time.Now().Add(-time.Hour) })); !errors.Is(
		err,
		job.ErrInvalid,
	) {
		t.Errorf("over before it began: %v", err)
	}
	mine := b.create()
	if _, err := b.Create(t.Context(), spec(func(s *job.Schedule) { s.OwnerID = mine.OwnerID })); !errors.Is(
		err,
		job.ErrConflict,
	) {
		t.Errorf("the same name: %v", err)
	}
}

// disable disables the account of an owner, who is made first where there is none.
func (b *bench) disable(owner job.ID, disabled bool) {
	b.t.Helper()
	u := &people.User{
		ID:           owner,
		Email:        owner.String() + "@example.com",
		Role:         people.RoleUser,
		PasswordHash: "$argon2id$x",
		CreatedAt:    time.Now(),
	}
	if err := b.store.CreateUser(b.t.Context(), people.Request{}, u); err != nil && !errors.Is(err, job.ErrConflict) {
		b.t.Fatal(err)
	}
	if _, _, err := b.store.ChangeUser(b.t.Context(), people.Request{}, owner, people.Change{Disabled: &disabled},
		time.Now().UTC()); err != nil {
		b.t.Fatal(err)
	}
}

func TestASchedulePausesWhenItIsDueAndItsOwnerIsDisabled(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *bench) {
		s := b.create(missed(job.MissedAll))
		b.disable(s.OwnerID, true)
		b.rewind(s, 3*time.Hour)
		if _, err := b.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := b.store.Schedule(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.PausedBy != job.ByItself || got.PauseReason != ownerDisabled || !got.NextAt.IsZero() {
			t.Errorf("the schedule is %+v", got)
		}
		ticks, err := b.store.Ticks(t.Context(), job.TickFilter{ScheduleID: s.ID, Limit: 100})
		if err != nil || len(ticks) < 3 {
			t.Fatalf("%d ticks, %v", len(ticks), err)
		}
		for _, tick := range ticks {
			if tick.Outcome != job.Missed || !tick.JobID.IsZero() {
				t.Errorf("a tick is %+v", tick)
			}
		}
		for what, act := range map[string]func() error{
			"trigger": func() error { _, _, err := b.Trigger(t.Context(), s.ID, ""); return err },
			"resume":  func() error { _, err := b.Resume(t.Context(), s.ID); return err },
			"backfill": func() error {
				_, err := b.Backfill(t.Context(), s.ID,
					Backfill{From: s.CreatedAt.Add(-2 * time.Hour), To: s.CreatedAt, Spacing: time.Second})
				return err
			},
		} {
			if err := act(); !errors.Is(err, job.ErrConflict) {
				t.Errorf("%s: %v", what, err)
			}
		}
		b.disable(s.OwnerID, false)
		if _, err := b.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(everyJob(t, b.store)); n != 0 { // nothing starts by surprise
			t.Errorf("%d jobs were made", n)
		}
		after, err := b.Resume(t.Context(), s.ID)
		if err != nil || after.NextAt.Before(time.Now().Add(-time.Second)) {
			t.Errorf("resumed to %+v, %v", after, err)
		}
	})
}
