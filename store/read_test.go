package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func TestOpenJobsAreCountedUpToABound(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner, w := job.NewID(), job.NewID()
		own := func(s *job.Submission) { s.OwnerID = owner }
		jobs := create(t, s, submission(own), submission(own), submission(own), submission())
		settle(t, s, settlement(mustClaim(t, s, jobs[0], w), w, job.Completed))
		for limit, want := range map[int]int{1: 1, 2: 2, 10: 2} {
			if n, err := s.OpenJobs(t.Context(), owner, limit); err != nil || n != want {
				t.Errorf("up to %d: %d, %v", limit, n, err)
			}
		}
	})
}

func TestFinishedAmongKnowsTheFinishedAndTheGone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		jobs := create(t, s, submission(), submission())
		settle(t, s, settlement(mustClaim(t, s, jobs[0], w), w, job.Completed))
		gone := job.NewID()
		got, err := s.FinishedAmong(t.Context(), []job.ID{jobs[0].ID, jobs[1].ID, gone})
		if err != nil || !slices.Equal(got, []job.ID{jobs[0].ID, gone}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestDeliveriesComeInTheOrderOfTheirDecision(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		first := create(t, s, submission())[0]
		rest := create(
			t,
			s,
			submission(),
			submission(),
			submission(),
			submission(func(s *job.Submission) { s.Queue = "low" }),
		)
		settle(t, s, settlement(mustClaim(t, s, rest[0], w), w, job.Completed))
		if _, err := s.Redeliver(t.Context(),
			[]job.OpenDelivery{{Position: job.Position{ID: first.ID}, Number: 1}}); err != nil {
			t.Fatal(err)
		}
		want := []job.ID{rest[1].ID, rest[2].ID, first.ID} // redelivered, it is the newest
		horizon := time.Now().Add(time.Minute)
		var got []job.ID
		for at := (job.Position{}); ; {
			page, err := s.OpenDeliveries(t.Context(), "default", at, horizon, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			at = page[0].Position
			got = append(got, page[0].ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		from, err := s.OpenDeliveries(
			t.Context(),
			"default",
			job.Position{DispatchAt: horizon},
			horizon.Add(time.Hour),
			10,
		)
		if err != nil || len(from) != 0 {
			t.Errorf("after the horizon: %v, %v", from, err)
		}
		page, err := s.OpenDeliveries(t.Context(), "default", job.Position{}, horizon, 10)
		if err != nil {
			t.Fatal(err)
		}
		on, err := s.OpenDeliveries(t.Context(), "default", job.Position{DispatchAt: page[0].DispatchAt}, horizon, 10)
		if err != nil || len(on) != 3 {
			t.Errorf("a position without an id leaves out what lies on it: %d, %v", len(on), err)
		}
	})
}

func TestParcelsAndStandingLeaveOutTheFinished(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		w := job.NewID()
		jobs := create(t, s, submission(), submission())
		settle(t, s, settlement(mustClaim(t, s, jobs[0], w), w, job.Completed))
		ids := []job.ID{jobs[0].ID, jobs[1].ID}
		messages, err := s.Messages(t.Context(), ids)
		if err != nil || len(messages) != 1 || messages[0].JobID != jobs[1].ID ||
			string(messages[0].Payload) != `{"a": 1.10}` {
			t.Errorf("messages: %+v, %v", messages, err)
		}
		standing, err := s.DeliveriesOf(t.Context(), ids)
		if err != nil || len(standing) != 1 || standing[0].ID != jobs[1].ID {
			t.Errorf("standing: %+v, %v", standing, err)
		}
	})
}

func TestAPauseKeepsItsFirstReason(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		for _, by := range []string{"ann", "bob"} {
			if err := s.Pause(t.Context(), "low", by, "because of "+by); err != nil {
				t.Fatal(err)
			}
		}
		q, err := s.Queues(t.Context())
		if err != nil || len(q) != 1 || q[0].PausedBy != "ann" || q[0].Reason != "because of ann" ||
			q[0].PausedAt.IsZero() {
			t.Fatalf("paused: %+v, %v", q, err)
		}
		if err := s.Resume(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		if q, err = s.Queues(t.Context()); err != nil || !q[0].PausedAt.IsZero() || q[0].ResumedAt.IsZero() {
			t.Errorf("resumed: %+v, %v", q, err)
		}
	})
}

func TestALargeBatchWithLabelsIsQuick(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		subs, owner := make([]job.Submission, job.MaxBatch), job.NewID()
		for i := range subs {
			subs[i] = submission(
				func(s *job.Submission) { s.OwnerID, s.Labels = owner, map[string]string{"run": "x", "n": "y"} },
			)
		}
		// A plan that compares each with each runs into the statement's timeout.
		if _, err := s.CreateAll(t.Context(), subs); err != nil {
			t.Fatal(err)
		}
		page, err := s.Jobs(t.Context(), job.Filter{Labels: map[string]string{"run": "x"}, Limit: 200})
		if err != nil || len(page) != 200 || page[0].ID != subs[len(subs)-1].ID {
			t.Errorf("%d jobs carry the label, %v", len(page), err)
		}
	})
}

// A queue that was empty when PostgreSQL last looked must not make every claim and settlement walk
// all open jobs.
func TestHotWritesFindTheirJobsByKeyWhateverTheStatisticsSay(t *testing.T) {
	t.Parallel()
	s := newStore(t, testenv.Postgres(t))
	w, subs := job.NewID(), make([]job.Submission, 3000)
	flood := func() {
		for i := range subs {
			subs[i] = submission()
		}
		if _, err := s.CreateAll(t.Context(), subs); err != nil {
			t.Fatal(err)
		}
	}
	flood()
	for _, q := range []string{"DELETE FROM open_jobs WHERE id <> (SELECT id FROM open_jobs ORDER BY id DESC LIMIT 1)",
		"VACUUM ANALYZE open_jobs", "VACUUM ANALYZE submissions"} {
		if _, err := s.db.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	mustClaim(t, s, create(t, s, submission())[0], w) // whatever is kept of a plan is kept now
	flood()
	read := func() (n int) {
		err := s.db.NewSelect().
			Table("pg_stat_user_tables").
			ColumnExpr("coalesce(idx_tup_fetch, 0) + seq_tup_read").
			Where("relname = 'open_jobs'").
			Scan(t.Context(), &n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	flush := func() {
		for _, pool := range []*pgxpool.Pool{s.engine.(*postgresEngine).hot, s.engine.(*postgresEngine).pool} {
			if _, err := pool.Exec(t.Context(), "SELECT pg_stat_force_next_flush()"); err != nil {
				t.Fatal(err)
			}
			pool.Reset() // counts are written when a session ends, if not before
		}
	}
	flush()
	before := read()
	for i := range 20 {
		j := mustClaim(t, s, &job.Job{ID: subs[i].ID, Delivery: 1}, w)
		settle(t, s, settlement(j, w, []job.State{job.Completed, job.Scheduled}[i%2]))
	}
	flush()
	testenv.Eventually(t, 10*time.Second, func() bool { return read() > before }, "the counts are written")
	if n := read() - before; n > 2000 {
		t.Errorf("20 claims and settlements read %d rows", n)
	}
}

// Several jobs are locked in the order of their ids, so that no two transactions deadlock.
func TestClaimsAndSettlementsLockInTheOrderOfTheirIDs(t *testing.T) {
	t.Parallel()
	s := newStore(t, testenv.Postgres(t))
	w := job.NewID()
	jobs := create(t, s, submission(), submission())
	low, high := jobs[0].ID, jobs[1].ID // ids rise
	lock := func(id job.ID) (free func()) {
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got job.ID
		if err := tx.NewSelect().Table("open_jobs").Column("id").Where("id = ?",
			id).For("UPDATE NOWAIT").Scan(t.Context(), &got); err != nil {
			t.Errorf("somebody who waits for a job holds one behind it: %v", err)
		}
		return func() { _ = tx.Rollback() }
	}
	against := func(write func() error) {
		free := lock(low)
		done := make(chan error, 1)
		go func() { done <- write() }()
		testenv.Eventually(t, 5*time.Second, func() bool {
			n, err := s.db.NewSelect().
				Table("pg_stat_activity").
				Where("datname = current_database()").
				Where("wait_event_type = 'Lock'").
				Count(t.Context())
			return err == nil && n > 0
		}, "it waits for the first job")
		lock(high)()
		free()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	against(func() error {
		_, err := s.Claim(
			t.Context(),
			[]job.ClaimRequest{{JobID: high, Delivery: 1, WorkerID: w}, {JobID: low, Delivery: 1, WorkerID: w}},
		)
		return err
	})
	for _, state := range []job.State{job.Scheduled, job.Completed} {
		sets := []*job.Settlement{
			{JobID: high, Attempt: 1, WorkerID: w, State: state},
			{JobID: low, Attempt: 1, WorkerID: w, State: state},
		}
		if state == job.Completed {
			mustClaim(t, s, &job.Job{ID: low, Delivery: 1}, w)
			mustClaim(t, s, &job.Job{ID: high, Delivery: 1}, w)
			sets[0].Attempt, sets[1].Attempt = 2, 2
		}
		against(func() error {
			out, err := s.Settle(t.Context(), sets)
			if err == nil && (!out[0].Accepted || !out[1].Accepted) {
				err = fmt.Errorf("settled as %+v", out)
			}
			return err
		})
	}
}
