package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

func TestASQLSTATEIsJudgedByWhatItSaysOfARow(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]dbError{
		"08006": faultReach, "25006": faultReach, "40001": faultReach, "40P01": faultReach, "53300": faultReach,
		"55P03": faultReach, "57014": faultReach,
		"57P01": faultReach, "0A000": faultStatement, "26000": faultStatement, "42501": faultStatement,
		"42P01": faultStatement, "58030": faultStatement,
		"P0001": faultStatement, "XX001": faultStatement, "": faultStatement, "22P05": faultContent,
		"23514": faultContent,
	} {
		if got := new(postgresEngine).classify(fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: state})); got != want {
			t.Errorf("%q is %v, want %v", state, got, want)
		}
	}
	for err, want := range map[error]dbError{
		io.ErrUnexpectedEOF: faultReach, context.DeadlineExceeded: faultReach, errors.New("a bug"): noFault,
		context.Canceled: noFault,
		&sessionError{&pgconn.PgError{Code: "22023"}}: faultReach, driver.ErrBadConn: faultReach,
		sql.ErrTxDone: faultReach, sql.ErrNoRows: noFault,
		&pgconn.PgError{Code: "28P01", Severity: "FATAL"}: faultReach,
	} {
		if got := new(postgresEngine).classify(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}

// raise has every INSERT, UPDATE and DELETE on a table fail with a SQLSTATE, and answers what ends
// that.
func raise(t *testing.T, s *Store, table, state, when string) (heal func()) {
	t.Helper()
	name := "raise_" + table
	mustExec(
		t,
		s,
		"CREATE OR REPLACE FUNCTION "+name+
			"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'secret words' USING ERRCODE = '"+state+
			"'; END $$",
	)
	mustExec(
		t,
		s,
		"CREATE TRIGGER "+name+" BEFORE "+events(
			when,
		)+" ON "+table+" FOR EACH ROW "+when+" EXECUTE FUNCTION "+name+"()",
	)
	return func() { t.Helper(); mustExec(t, s, "DROP TRIGGER "+name+" ON "+table) }
}

func mustExec(t *testing.T, s *Store, statement string) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Whatever PostgreSQL refuses a hot write with, the caller is told to come back, sees nothing of
// the statement, and finds the job as it was.
func TestWhateverTheDatabaseSaysAJobWaits(t *testing.T) {
	t.Parallel()
	s := newStore(t, testenv.Postgres(t))
	w := job.NewID()
	_, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: w})
	must(t, err)
	for _, state := range []string{"0A000", "22P05", "23514", "25006", "26000", "40001", "42501", "42P01", "53100",
		"57014", "58030", "P0001", "XX001"} {
		waiting := create(t, s, submission())[0]
		running := mustClaim(t, s, create(t, s, submission())[0], w)
		for _, table := range []string{"submissions", "open_jobs", "outcomes"} {
			heal := raise(t, s, table, state, "")
			for name, err := range hotWrites(t.Context(), s, waiting, running, w) {
				touched := table == "open_jobs" || table == "submissions" && name == "create" ||
					table == "outcomes" && name == "settle"
				if touched != (err != nil) {
					t.Errorf("%s on %s: %s answers %v", state, table, name, err)
				}
				if err == nil {
					continue
				}
				var e *job.Error
				if !errors.As(err, &e) || e.Code != job.CodeUnavailable || e.RetryAfter <= 0 ||
					strings.Contains(e.Message, "secret") {
					t.Errorf("%s on %s: %s answers %v", state, table, name, err)
				}
			}
			heal()
			waiting, running = renew(t, s, waiting, running, w)
		}
	}
}

func hotWrites(ctx context.Context, s *Store, waiting, running *job.Job, w job.ID) map[string]error {
	out := map[string]error{}
	_, _, out["create"] = s.Create(ctx, []job.Submission{submission()})
	set := settlement(running, w, job.Completed)
	_, out["settle"] = s.Settle(ctx, []*job.Settlement{&set})
	_, out["claim"] = s.Claim(ctx, []job.ClaimRequest{{JobID: waiting.ID, Delivery: waiting.Delivery, WorkerID: w}})
	return out
}

// renew checks that jobs whose writes failed can still be written, and answers others for the next
// round.
func renew(t *testing.T, s *Store, waiting, running *job.Job, w job.ID) (*job.Job, *job.Job) {
	t.Helper()
	if read(t, s, waiting.ID).State == job.Pending {
		mustClaim(t, s, waiting, w)
	}
	if r := settle(t, s, settlement(running, w, job.Completed)); !r.Accepted {
		t.Errorf("once the database takes it, the outcome is answered %+v", r)
	}
	return create(t, s, submission())[0], mustClaim(t, s, create(t, s, submission())[0], w)
}

func TestAJobThatTheDatabaseRefusesDoesNotKeepOthersWithALostWorker(t *testing.T) {
	t.Parallel()
	s := newStore(t, testenv.Postgres(t))
	w := job.NewID()
	_, err := s.Heartbeat(t.Context(), job.Heartbeat{WorkerID: w})
	must(t, err)
	judge := standingJudge(t, s)
	jobs := create(t, s, submission(), submission(), submission(), submission(), submission())
	for _, j := range jobs {
		mustClaim(t, s, j, w)
	}
	must(t, s.RemoveWorker(t.Context(), w))
	heal := raise(t, s, "open_jobs", "P0001", "WHEN (OLD.id = '"+jobs[2].ID.String()+"')")
	back, err := s.RescueLost(t.Context(), judge)
	if err != nil || len(back) != 4 {
		t.Fatalf("%d jobs were taken back, %v", len(back), err)
	}
	if back, err = s.RescueLost(t.Context(), judge); !errors.Is(err, job.ErrUnavailable) || len(back) != 0 {
		t.Errorf("of the last one it says %d, %v", len(back), err)
	}
	heal()
	if back, err = s.RescueLost(t.Context(), judge); err != nil || len(back) != 1 {
		t.Errorf("once it can be written, %d, %v", len(back), err)
	}
}

// events are those that a condition on the row before can be asked for.
func events(when string) string {
	if when != "" {
		return "UPDATE OR DELETE"
	}
	return "INSERT OR UPDATE OR DELETE"
}
