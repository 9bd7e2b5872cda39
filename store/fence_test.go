package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func TestOnlyOneClaimHolds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		j := create(t, s, submission())[0]
		reqs := make([]job.ClaimRequest, 5)
		for i := range reqs {
			reqs[i] = job.ClaimRequest{JobID: j.ID, Delivery: 1, WorkerID: job.NewID()}
		}
		claims, err := s.Claim(t.Context(), reqs)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range claims {
			if want := map[bool]job.ClaimDecision{true: job.Run, false: job.Postpone}[i == 0]; c.Decision != want {
				t.Errorf("claim %d answers %v", i, c.Decision)
			}
		}
		if c := claim(t, s, j, job.NewID()); c.Decision != job.Postpone || c.Wait <= 0 {
			t.Errorf("a claim of a running job answers %+v", c)
		}
	})
}

func TestAnOlderDeliveryIsDropped(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		j := create(t, s, submission())[0]
		sent, err := s.Redeliver(t.Context(), []job.OpenDelivery{{Position: job.Position{ID: j.ID}, Number: 1}})
		if err != nil || len(sent) != 1 || sent[0].Delivery != 2 {
			t.Fatalf("redelivered %+v, %v", sent, err)
		}
		if c := claim(t, s, j, job.NewID()); c.Decision != job.Drop {
			t.Errorf("the first delivery answers %v", c.Decision)
		}
		if again, err := s.Redeliver(t.Context(),
			[]job.OpenDelivery{{Position: job.Position{ID: j.ID}, Number: 1}}); err != nil ||
			len(again) != 0 {
			t.Errorf("a delivery that is over was decided anew: %+v, %v", again, err)
		}
		j.Delivery = 2
		mustClaim(t, s, j, job.NewID())
	})
}

func TestAClaimOfAFinishedOrUnknownJobIsDropped(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		done := create(t, s, submission())[0]
		settle(t, s, settlement(mustClaim(t, s, done, w), w, job.Completed))
		for _, j := range []*job.Job{done, {ID: job.NewID(), Delivery: 1}} {
			if c := claim(t, s, j, w); c.Decision != job.Drop {
				t.Errorf("%s answers %v", j.ID, c.Decision)
			}
		}
	})
}

func TestASettlementIsAcceptedOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		j := mustClaim(t, s, create(t, s, submission())[0], w)
		set := settlement(j, w, job.Retry)
		set.Failed, set.Wait, set.Error = true, time.Hour, &job.AttemptError{Message: "no\x00pe \xff", Retryable: true}
		if r := settle(t, s, set); !r.Accepted || r.State != job.Retry {
			t.Fatalf("settled as %+v", r)
		}
		if r := settle(t, s, set); !r.Accepted { // its answer may have been lost
			t.Errorf("the same again: %+v", r)
		}
		got := read(t, s, j.ID)
		if got.Failures != 1 || len(got.Errors) != 1 || got.Errors[0].Message != "no\uFFFDpe \uFFFD" {
			t.Errorf("it counts %d failures, %+v", got.Failures, got.Errors)
		}
		other := settlement(j, job.NewID(), job.Completed)
		if r := settle(t, s, other); r.Accepted {
			t.Error("another worker settled this attempt")
		}
		set.State = job.Completed
		if r := settle(t, s, set); r.Accepted || read(t, s, j.ID).State != job.Retry {
			t.Errorf("a second outcome of one attempt: %+v", r)
		}
	})
}

// Each case is one that a single part of the fence stops, and no other.
func TestEveryPartOfTheFenceStopsAnOutcome(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		refused := func(name string, set job.Settlement, state job.State) {
			t.Helper()
			if r := settle(t, s, set); r.Accepted {
				t.Errorf("%s: it was taken: %+v", name, r)
			}
			if j := read(t, s, set.JobID); j.State != state || !j.FinishedAt.IsZero() {
				t.Errorf("%s: the job is %s", name, j.State)
			}
		}
		w := job.NewID()
		for _, outcome := range []job.State{job.Completed, job.Scheduled} {
			j := mustClaim(t, s, create(t, s, submission())[0], w)
			other := settlement(j, job.NewID(), outcome)
			refused("another worker's word", other, job.Active)

			set := settlement(j, w, job.Pending)
			if r := settle(t, s, set); !r.Accepted {
				t.Fatalf("handed back: %+v", r)
			}
			set.State = outcome
			refused("a second word on one attempt", set, job.Pending)

			first := mustClaim(t, s, create(t, s, submission())[0], w)
			back, err := s.RescueLost(t.Context(), standingJudge(t, s))
			if err != nil || len(back) != 1 {
				t.Fatal(back, err)
			}
			mustClaim(t, s, back[0], w) // the same worker, back from the dead
			refused("an older attempt", settlement(first, w, outcome), job.Active)
			settle(t, s, job.Settlement{JobID: first.ID, Attempt: 2, WorkerID: w, State: job.Completed})
		}
	})
}

func TestALateWorkerIsRefusedOnceSomebodyClaimedAnew(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		dead, judge, next := job.NewID(), standingJudge(t, s), job.NewID()
		first := mustClaim(t, s, create(t, s, submission())[0], dead)
		back, err := s.RescueLost(t.Context(), judge)
		if err != nil || len(back) != 1 || back[0].State != job.Pending || back[0].Delivery != 2 ||
			back[0].Interruptions != 1 ||
			back[0].Failures != 0 {
			t.Fatalf("taken back: %+v, %v", back, err)
		}
		second := mustClaim(t, s, back[0], next)
		if second.Attempt != 2 {
			t.Errorf("attempt %d", second.Attempt)
		}
		if r := settle(t, s, settlement(first, dead, job.Completed)); r.Accepted {
			t.Error("the dead worker's outcome was taken")
		}
		if r := settle(t, s, settlement(second, next, job.Completed)); !r.Accepted {
			t.Error("the living worker's outcome was refused")
		}
	})
}

func TestALateWorkerMaySettleWhileNobodyClaimedAnew(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		late, judge := job.NewID(), standingJudge(t, s)
		j := mustClaim(t, s, create(t, s, submission())[0], late)
		back, err := s.RescueLost(t.Context(), judge)
		if err != nil || len(back) != 1 {
			t.Fatal(back, err)
		}
		if r := settle(t, s, settlement(j, late, job.Completed)); !r.Accepted || r.State != job.Completed {
			t.Errorf("settled as %+v", r)
		}
		if c := claim(t, s, back[0], job.NewID()); c.Decision != job.Drop {
			t.Errorf("its new delivery answers %v", c.Decision)
		}
	})
}

// A job that was put off as a suspect still gets the outcome of the worker that seemed dead, until
// another one claims it.
func TestALateWorkerMaySettleASuspectThatWaits(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		judge, jobs, w := standingJudge(
			t,
			s,
		), create(
			t,
			s,
			submission(),
			submission(),
			submission(),
			submission(),
		), job.NewID()
		for range suspectCrashes {
			w = job.NewID()
			for i, j := range jobs {
				jobs[i] = mustClaim(t, s, read(t, s, j.ID), w)
			}
			if back, err := s.RescueLost(t.Context(), judge); err != nil || len(back) != len(jobs) {
				t.Fatal(back, err)
			}
		}
		jobs = slices.DeleteFunc(jobs, func(j *job.Job) bool { return read(t, s, j.ID).State != job.Scheduled })
		if len(jobs) != 3 {
			t.Fatalf("%d of four suspects are put off", len(jobs))
		}
		failed := settlement(jobs[1], w, job.Retry)
		failed.Failed, failed.Wait, failed.Error = true, time.Hour, &job.AttemptError{Message: "no", Retryable: true}
		for i, set := range []job.Settlement{settlement(jobs[0], w, job.Completed), failed,
			settlement(jobs[2], w, job.Pending)} {
			if r := settle(t, s, set); !r.Accepted || r.State != set.State {
				t.Errorf("%d: settled as %+v", i, r)
			}
			if r := settle(t, s, set); !r.Accepted {
				t.Errorf("%d: the same again: %+v", i, r)
			}
			if got := read(t, s, set.JobID); got.State != set.State {
				t.Errorf("%d: the job is %s", i, got.State)
			}
		}
		if claim(t, s, read(t, s, jobs[0].ID), job.NewID()).Decision != job.Drop {
			t.Error("a job that is completed was given to a worker")
		}
		if j := read(t, s, jobs[1].ID); j.Failures != 1 {
			t.Errorf("a late failure counts %d times", j.Failures)
		}
	})
}

// standingJudge is a worker that was heard long enough to call others dead. Its row is set back in
// time; beats come from Beat.
func standingJudge(t *testing.T, s *Store) job.ID {
	t.Helper()
	id := job.NewID()
	if _, err := s.Heartbeat(t.Context(),
		job.Heartbeat{WorkerID: id, Host: "here", Queues: []string{"default"}, Slots: 1}); err != nil {
		t.Fatal(err)
	}
	_, err := s.db.NewUpdate().
		Model((*workerRow)(nil)).
		Set("beating_since = ?", time.Now().UTC().Add(-time.Hour)).
		Where("id = ?", id).
		Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOnlyAJudgeWhoWasHeardAllTheTimeCallsOthersDead(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		dead := job.NewID()
		mustClaim(t, s, create(t, s, submission())[0], dead)
		young := job.NewID()
		if _, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: young}); err != nil {
			t.Fatal(err)
		}
		for name, judge := range map[string]job.ID{"one who just came": young, "one whom nobody knows": job.NewID()} {
			if back, err := s.RescueLost(t.Context(), judge); err != nil || len(back) != 0 {
				t.Errorf("%s took back %d jobs, %v", name, len(back), err)
			}
		}
		silent := standingJudge(t, s)
		_, err := s.db.NewUpdate().
			Model((*workerRow)(nil)).
			Set("beat_at = ?", time.Now().UTC().Add(-time.Minute)).
			Where("id = ?", silent).
			Exec(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if back, err := s.RescueLost(t.Context(), silent); err != nil || len(back) != 0 {
			t.Errorf("a silent judge took back %d jobs, %v", len(back), err)
		}
		// After his silence he begins again.
		if _, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: silent}); err != nil {
			t.Fatal(err)
		}
		if back, err := s.RescueLost(t.Context(), silent); err != nil || len(back) != 0 {
			t.Errorf("a judge after a gap took back %d jobs, %v", len(back), err)
		}
	})
}

func TestAJobOfALivingWorkerIsLeftAlone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		alive, judge := job.NewID(), standingJudge(t, s)
		if _, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: alive}); err != nil {
			t.Fatal(err)
		}
		mustClaim(t, s, create(t, s, submission())[0], alive)
		if back, err := s.RescueLost(t.Context(), judge); err != nil || len(back) != 0 {
			t.Errorf("taken back: %d, %v", len(back), err)
		}
	})
}

func TestAJobThatKillsItsWorkersIsQuarantined(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		judge := standingJudge(t, s)
		j := create(t, s, submission())[0]
		for n := 1; n <= job.MaxCrashes; n++ {
			mustClaim(t, s, j, job.NewID())
			back, err := s.RescueLost(t.Context(), judge)
			if err != nil || len(back) != 1 {
				t.Fatal(back, err)
			}
			j = back[0]
			if want := n == job.MaxCrashes; (j.State == job.Archived) != want {
				t.Fatalf("after %d lost workers it is %s", n, j.State)
			}
		}
		got := read(t, s, j.ID)
		if got.Failures != 0 || got.Interruptions != job.MaxCrashes ||
			!strings.Contains(got.Errors[len(got.Errors)-1].Message, "quarantined") {
			t.Errorf("it reads %+v", got)
		}
	})
}

// Jobs that share their worker's end again and again must be parted, or the innocent are
// quarantined with the guilty.
func TestThoseThatDieTogetherTwiceComeBackApart(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		judge, jobs := standingJudge(t, s), create(t, s, submission(), submission(), submission(), submission())
		for crash := 1; crash <= 2; crash++ {
			w := job.NewID()
			for _, j := range jobs {
				mustClaim(t, s, j, w)
			}
			fresh := mustClaim(t, s, create(t, s, submission())[0], w) // it shares the end of these for the first time
			before, err := s.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			back, err := s.RescueLost(t.Context(), judge)
			if err != nil || len(back) != 5 {
				t.Fatal(back, err)
			}
			jobs = jobs[:0]
			seconds := map[int]bool{}
			for _, j := range back {
				if j.ID == fresh.ID || crash == 1 {
					if j.State != job.Pending {
						t.Errorf("after its first lost worker a job is %s", j.State)
					}
				} else {
					seconds[int(j.RunAt.Sub(before).Round(time.Second)/time.Second)] = true
					if waits := j.RunAt.After(before.Add(time.Second / 2)); waits != (j.State == job.Scheduled) ||
						!waits && j.State != job.Pending {
						t.Errorf("it is %s, to run %s later", j.State, j.RunAt.Sub(before))
					}
				}
				if j.ID != fresh.ID {
					jobs = append(jobs, j)
				}
			}
			if crash == 2 && len(seconds) != 4 {
				t.Errorf("four suspects come back in %d different seconds: %v", len(seconds), seconds)
			}
			settle(t, s, settlement(mustClaim(t, s, read(t, s, fresh.ID), w), w, job.Completed))
		}
	})
}

func TestASettledAttemptClearsTheSuspicion(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		judge := standingJudge(t, s)
		j := create(t, s, submission())[0]
		for range 3 * job.MaxCrashes {
			mustClaim(t, s, j, job.NewID())
			back, err := s.RescueLost(t.Context(), judge)
			if err != nil || len(back) != 1 || back[0].State != job.Pending {
				t.Fatal(back, err)
			}
			w := job.NewID()
			got := mustClaim(t, s, back[0], w)
			done := settle(t, s, settlement(got, w, job.Pending)) // a worker that stops hands it back
			if !done.Accepted {
				t.Fatal(done)
			}
			j = read(t, s, j.ID)
		}
	})
}

func TestCancelHolds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		waiting := create(t, s, submission())[0]
		got, err := s.Cancel(t.Context(), waiting.ID)
		if err != nil || got.State != job.Canceled || got.CancelRequestedAt.IsZero() || got.FinishedAt.IsZero() {
			t.Fatalf("canceled: %+v, %v", got, err)
		}
		if c := claim(t, s, waiting, job.NewID()); c.Decision != job.Drop {
			t.Errorf("a claim after the cancel answers %v", c.Decision)
		}
		if again, err := s.Cancel(t.Context(), waiting.ID); err != nil || again.State != job.Canceled {
			t.Errorf("canceled twice: %v", err)
		}

		w := job.NewID()
		running := mustClaim(t, s, create(t, s, submission())[0], w)
		if got, err := s.Cancel(t.Context(), running.ID); err != nil || got.State != job.Active ||
			got.CancelRequestedAt.IsZero() {
			t.Fatalf("canceled while it runs: %+v, %v", got, err)
		}
		orders, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: w})
		if err != nil || len(orders.Held) != 1 || !orders.Held[0].CancelRequested {
			t.Fatalf("the worker is told %+v, %v", orders, err)
		}
		set := settlement(running, w, job.Retry)
		set.Failed = true
		if r := settle(t, s, set); !r.Accepted || r.State != job.Canceled {
			t.Errorf("what would run again is %+v", r)
		}

		lost := mustClaim(t, s, create(t, s, submission())[0], job.NewID())
		if _, err := s.Cancel(t.Context(), lost.ID); err != nil {
			t.Fatal(err)
		}
		if back, err := s.RescueLost(t.Context(), standingJudge(t, s)); err != nil || len(back) != 1 ||
			back[0].State != job.Canceled {
			t.Errorf("canceled and then orphaned: %+v, %v", back, err)
		}
	})
}

func TestWhatIsDoneIsDoneThoughACancelWasAskedFor(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		j := mustClaim(t, s, create(t, s, submission())[0], w)
		if _, err := s.Cancel(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		if r := settle(t, s, settlement(j, w, job.Completed)); !r.Accepted || r.State != job.Completed {
			t.Errorf("settled as %+v", r)
		}
	})
}

func TestRetryAndCancelSayWhereTheyCannot(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		done := create(t, s, submission())[0]
		settle(t, s, settlement(mustClaim(t, s, done, w), w, job.Completed))
		pending := create(t, s, submission())[0]
		scheduled := create(t, s, submission(func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) }))[0]
		for _, c := range []struct {
			name  string
			err   error
			state job.State
		}{
			{"cancel completed", second(s.Cancel(t.Context(), done.ID)), job.Completed},
			{"retry completed", second(s.Retry(t.Context(), done.ID)), job.Completed},
			{"retry pending", second(s.Retry(t.Context(), pending.ID)), job.Pending},
			{"retry scheduled", second(s.Retry(t.Context(), scheduled.ID)), job.Scheduled},
			{"archive completed", second(s.Archive(t.Context(), done.ID, "why not")), job.Completed},
		} {
			var e *job.Error
			if !errors.As(c.err, &e) || e.Code != job.CodeConflict || e.State != c.state {
				t.Errorf("%s: %v", c.name, c.err)
			}
		}
		if _, err := s.Retry(t.Context(), job.NewID()); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("retry of an unknown job: %v", err)
		}
	})
}

func second(_ *job.Job, err error) error { return err }

func TestARetryByHandGivesAllRetriesAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		j := create(t, s, submission(func(s *job.Submission) { s.MaxRetries = 0 }))[0]
		set := settlement(mustClaim(t, s, j, w), w, job.Archived)
		set.Failed, set.Error = true, &job.AttemptError{Message: "no"}
		settle(t, s, set)
		again, err := s.Retry(t.Context(), j.ID)
		if err != nil || again.State != job.Pending || again.Failures != 0 || again.Delivery != 2 ||
			again.Attempt != 1 ||
			len(again.Errors) != 1 {
			t.Fatalf("retried: %+v, %v", again, err)
		}
		if r := settle(t, s, set); r.Accepted && r.State != job.Archived {
			t.Errorf("the old attempt settled the new run: %+v", r)
		}
		got := mustClaim(t, s, again, w)
		if got.Attempt != 2 {
			t.Errorf("attempt %d", got.Attempt)
		}
		if a, err := s.Archive(t.Context(), create(t, s, submission())[0].ID, "unwanted"); err != nil ||
			a.State != job.Archived ||
			a.Errors[0].Message != "unwanted" {
			t.Errorf("archived by hand: %+v, %v", a, err)
		}
	})
}

func TestABatchWithAKeyIsPurgedWholeOrNotAtAll(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w, owner := job.NewID(), job.NewID()
		batch := make([]job.Submission, 3)
		for i := range batch {
			batch[i] = submission(func(s *job.Submission) {
				s.OwnerID, s.IdempotencyKey, s.Fingerprint = owner, job.BatchKey("k", i), []byte("same")
			})
		}
		made, err := s.CreateAll(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Hour)
		for i, want := range []int{0, 0, 3} { // the last job of the batch takes the others along
			settle(t, s, settlement(mustClaim(t, s, made[i].Job, w), w, job.Completed))
			if n, next, err := s.PurgeFinished(t.Context(), later, job.ID{}); err != nil || n != want ||
				!next.IsZero() {
				t.Errorf("after %d: purged %d, want %d, next %s, %v", i+1, n, want, next, err)
			}
		}
	})
}

func TestABatchOfWhichAPartIsLeftIsRefusedForGood(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := job.NewID()
		single := submission(func(s *job.Submission) {
			s.OwnerID, s.IdempotencyKey, s.Fingerprint = owner, job.BatchKey("k", 1), []byte("same")
		})
		create(t, s, single)
		batch := []job.Submission{single, single}
		batch[0].ID, batch[0].IdempotencyKey, batch[1].ID = job.NewID(), job.BatchKey("k", 0), job.NewID()
		if _, err := s.CreateAll(t.Context(), batch); job.CodeOf(err) != job.CodeKeyReused {
			t.Errorf("got %v, want %s", err, job.CodeKeyReused)
		}
	})
}

func TestPurgeTakesOnlyWhatFinishedLongAgo(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		labeled := submission(func(s *job.Submission) { s.Labels = map[string]string{"a": "b"} })
		jobs := create(t, s, labeled, submission())
		settle(t, s, settlement(mustClaim(t, s, jobs[0], w), w, job.Completed))
		if n, _, err := s.PurgeFinished(t.Context(), time.Now().Add(-time.Hour), job.ID{}); err != nil || n != 0 {
			t.Errorf("purged %d young ones, %v", n, err)
		}
		if n, _, err := s.PurgeFinished(t.Context(), time.Now().Add(time.Hour), job.ID{}); err != nil || n != 1 {
			t.Errorf("purged %d, %v", n, err)
		}
		if _, err := s.Job(t.Context(), jobs[0].ID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("it is still there: %v", err)
		}
		read(t, s, jobs[1].ID)
	})
}
