package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// tables are all that the migrations made, the history of migrations among them.
func tables(t *testing.T, s *Store) (names []string) {
	t.Helper()
	query := "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
	if s.engine.dialect() == "sqlite" {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	}
	must(t, s.db.NewRaw(query).Scan(t.Context(), &names))
	if len(names) < 14 {
		t.Fatalf("only %v are tables", names)
	}
	return names
}

// addColumns is what a newer release's migration may do while processes of this one run.
func addColumns(t *testing.T, s *Store, column string) {
	t.Helper()
	for _, table := range tables(t, s) {
		mustExec(t, s, "ALTER TABLE "+table+" ADD COLUMN "+column+" int")
	}
}

// everything calls what processes call, each at least once, and fails where one does.
func everything(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	w := job.NewID()
	ok := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	try := func(name string, f func() error) { t.Helper(); ok(name, f()) }
	_, err := s.Heartbeat(ctx, job.Heartbeat{WorkerID: w})
	ok("Beat", err)
	_, err = s.Workers(ctx)
	ok("Workers", err)

	keyed := func(c *job.Submission) {
		c.IdempotencyKey, c.Fingerprint, c.Labels = job.NewID().String(), []byte("f"), map[string]string{"a": "b"}
	}
	plain := create(t, s, submission(), submission(), submission())
	known := submission(keyed)
	create(t, s, known)
	replay := known
	replay.ID = job.NewID()
	create(t, s, replay)
	_, err = s.CreateAll(ctx, []job.Submission{submission(keyed), submission(keyed)})
	ok("CreateAll", err)
	done, again, off := mustClaim(t, s, plain[0], w), mustClaim(t, s, plain[1], w), plain[2]
	settle(t, s, settlement(done, w, job.Completed))
	failed := settlement(again, w, job.Retry)
	failed.Failed, failed.Wait, failed.Error = true, time.Hour, &job.AttemptError{Message: "no"}
	settle(t, s, failed)
	settle(t, s, failed) // answered from the row
	try("ReportProgress", func() error {
		return s.ReportProgress(ctx, []job.ProgressReport{{AttemptKey: job.AttemptKey{JobID: done.ID, Attempt: 1}}})
	})
	read(t, s, done.ID)
	_, err = s.Jobs(ctx, job.Filter{Limit: 10})
	ok("Jobs", err)
	_, err = s.Jobs(ctx, job.Filter{State: job.Completed, Limit: 10})
	ok("Jobs by state", err)
	_, err = s.OpenJobs(ctx, known.OwnerID, 10)
	ok("OpenJobs", err)
	_, err = s.FinishedAmong(ctx, []job.ID{done.ID})
	ok("FinishedAmong", err)
	for name, change := range map[string]func() error{
		"Cancel": func() error { return second(s.Cancel(ctx, off.ID)) },
		"Retry":  func() error { return second(s.Retry(ctx, again.ID)) },
	} {
		try(name, change)
	}
	try("Retry of one that is finished", func() error { return second(s.Retry(ctx, off.ID)) })
	try("Archive", func() error { return second(s.Archive(ctx, off.ID, "by hand")) })
	try("RunNow", func() error { return second(s.RunNow(ctx, off.ID)) })
	_, err = s.OpenDeliveries(ctx, "default", job.Position{}, time.Now().Add(time.Hour), 10)
	ok("Deliveries", err)
	_, err = s.DeliveriesOf(ctx, []job.ID{off.ID})
	ok("Standing", err)
	_, err = s.Messages(ctx, []job.ID{off.ID})
	ok("Messages", err)
	_, err = s.Redeliver(ctx, []job.OpenDelivery{{Position: job.Position{ID: off.ID}, Number: 1}})
	ok("Redeliver", err)
	_, err = s.SettledBefore(ctx)
	ok("SettledBefore", err)
	_, err = s.RescueLost(ctx, standingJudge(t, s))
	ok("Orphans", err)
	_, err = s.OpenCounts(ctx)
	ok("OpenCounts", err)
	_, err = s.ArchivedCounts(ctx)
	ok("ArchivedCounts", err)
	try("Pause", func() error { return s.Pause(ctx, "low", "me", "a test") })
	_, err = s.Queues(ctx)
	ok("Queues", err)
	try("Resume", func() error { return s.Resume(ctx, "low") })
	_, err = s.Lease(ctx, "duty", w, time.Minute)
	ok("Lease", err)
	try("Release", func() error { return s.Release(ctx, "duty", w) })
	try("Leave", func() error { return s.RemoveWorker(ctx, w) })
	_, _, err = s.PurgeFinished(ctx, time.Now().Add(-time.Hour), job.ID{})
	ok("PurgeFinished", err)
	try("PurgeWorkers", func() error { return s.PurgeWorkers(ctx, time.Now().Add(-time.Hour)) })
	everySchedule(t, s, ok)
	everyAccount(t, s, ok)
	try("Check", func() error { return s.Check(ctx) })
	try("Ready", func() error { return s.Ready(ctx) })
}

func everySchedule(t *testing.T, s *Store, ok func(string, error)) {
	ctx := t.Context()
	sch := newTestSchedule(t, s, func(c *job.Schedule) { c.Name = job.NewID().String() })
	_, err := s.Schedule(ctx, sch.ID)
	ok("Schedule", err)
	_, err = s.Schedules(ctx, job.ScheduleFilter{Limit: 10})
	ok("Schedules", err)
	_, _, _, err = s.ScheduleAgenda(ctx)
	ok("ScheduleAgenda", err)
	if d := decideOnce(t, s, time.Now().Add(time.Hour)); len(d.Ticks) == 0 {
		t.Error("no schedule ticked")
	}
	_, err = s.ChangeSchedule(ctx, sch.ID, func(_ time.Time, due *job.DueSchedule) (job.ScheduleDecision, error) {
		d := job.ScheduleDecision{Schedule: due.Schedule, Settings: true}
		d.Schedule.Name = job.NewID().String()
		return d, nil
	})
	ok("ChangeSchedule", err)
	_, err = s.Ticks(ctx, job.TickFilter{ScheduleID: sch.ID, Limit: 10})
	ok("Ticks", err)
	ok("PurgeTicks", s.PurgeTicks(ctx, time.Now().Add(-time.Hour)))
}

func everyAccount(t *testing.T, s *Store, ok func(string, error)) {
	ctx, now, none := t.Context(), microsecond(), account.Request{}
	u := createUser(t, s, account.RoleUser)
	_, err := s.UserByEmail(ctx, u.Email)
	ok("UserByEmail", err)
	_, err = s.Users(ctx, job.ID{}, 10)
	ok("Users", err)
	key := newKey(u.ID)
	ok("CreateKey", s.CreateKey(ctx, none, key, 10))
	_, err = s.Key(ctx, key.ID)
	ok("Key", err)
	_, err = s.Keys(ctx, u.ID, job.ID{}, 10)
	ok("Keys", err)
	ok("TouchKeys", s.TouchKeys(ctx, []job.ID{key.ID}, now))
	ok("DeleteKey", s.DeleteKey(ctx, none, u.ID, key.ID))
	f := createFamily(t, s, u.ID)
	_, err = s.Rotate(ctx, rotation(f, f.TokenHash, sum("new"+f.ID.String())))
	ok("Rotate", err)
	_, err = s.Family(ctx, f.ID)
	ok("Family", err)
	_, err = s.EndFamily(ctx, f.KeyHash, nil)
	ok("EndFamily", err)
	b := createSession(t, s, u.ID)
	_, err = s.Session(ctx, b.TokenHash)
	ok("Session", err)
	ok("TouchSessions", s.TouchSessions(ctx, []job.ID{b.ID}, now))
	_, err = s.SignIns(ctx, account.SignInFilter{UserID: u.ID, At: now, Limit: 10})
	ok("SignIns", err)
	_, err = s.EndSession(ctx, b.TokenHash, nil)
	ok("EndSession", err)
	_, err = s.PurgeFamilies(ctx, now, time.Time{}, 10)
	ok("PurgeFamilies", err)
	_, err = s.PurgeSessions(ctx, now, now.Add(-time.Hour), 10)
	ok("PurgeSessions", err)
	_, err = s.EndSignIn(ctx, none, u.ID, createFamily(t, s, u.ID).ID)
	ok("EndSignIn", err)
	_, err = s.EndSignIns(ctx, none, u.ID, job.ID{})
	ok("EndSignIns", err)
	_, err = s.SetPassword(
		ctx,
		none,
		account.PasswordChange{UserID: u.ID, OldHash: u.PasswordHash, NewHash: someHash + "2", ValidAfter: now},
	)
	ok("SetPassword", err)
	token := sum("reset " + u.ID.String())
	ok(
		"CreateReset",
		s.CreateReset(
			ctx,
			none,
			account.PasswordReset{UserID: u.ID, TokenHash: token, CreatedAt: now, ExpiresAt: now.Add(time.Hour)},
		),
	)
	_, err = s.ResetUser(ctx, token, now)
	ok("ResetUser", err)
	_, err = s.ResetPassword(
		ctx,
		none,
		token,
		now,
		account.PasswordChange{UserID: u.ID, NewHash: someHash + "2", ValidAfter: now},
	)
	ok("ResetPassword", err)
	_, err = s.PurgeResets(ctx, now, 10)
	ok("PurgeResets", err)
	ok("Rehash", s.Rehash(ctx, u.ID, someHash+"2", someHash+"3"))
	name := "new"
	_, _, err = s.ChangeUser(ctx, none, u.ID, account.Change{Name: &name}, now)
	ok("ChangeUser", err)
	ok("Record", s.Record(ctx, entry(func(*account.AuditEntry) {})))
	_, err = s.AuditEntries(ctx, account.AuditFilter{Limit: 10})
	ok("AuditEntries", err)
	_, err = s.PurgeAudit(ctx, now.Add(-time.Hour), 10)
	ok("PurgeAudit", err)
}

// Every session has prepared its statements; then a newer release's migration adds columns beneath
// them.
func TestColumnsMayBeAddedUnderAWarmStore(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		for _, column := range []string{"newer1", "newer2"} {
			everything(t, s)
			everything(t, s)
			addColumns(t, s, column)
			everything(t, s)
		}
	})
}

// A changed type makes the plans of every session stale, which PostgreSQL answers with 0A000, once
// for each.
func TestTypesMayChangeUnderAWarmStore(t *testing.T) {
	t.Parallel()
	s := newStore(t, testenv.Postgres(t))
	var view string
	must(t, s.db.NewRaw("SELECT pg_get_viewdef('jobs')").Scan(t.Context(), &view))
	for _, precision := range []int{3, 6} {
		everything(t, s)
		warm(t, s)
		change := []string{"DROP VIEW jobs"}
		for table, columns := range map[string][]string{
			"open_jobs":   {"run_at", "dispatch_at", "started_at", "cancel_requested_at"},
			"outcomes":    {"run_at", "finished_at", "started_at", "cancel_requested_at"},
			"submissions": {"created_at", "deadline"}, "schedules": {"created_at", "next_at"}, "workers": {"beat_at"},
			"leases": {"until"}, "job_errors": {"at"},
		} {
			for _, column := range columns {
				change = append(
					change,
					fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE timestamptz(%d)", table, column, precision),
				)
			}
		}
		change = append(change, "CREATE VIEW jobs AS "+view)
		mustExec(t, s, strings.Join(change, "; "))
		everything(t, s)
	}
}

// warm has every connection of the hot writes prepare its statements.
func warm(t *testing.T, s *Store) {
	t.Helper()
	hot := s.engine.(*postgresEngine).hot
	var open []interface{ Release() }
	for range hotConns { // all at once, so that each is another one
		c, err := hot.Acquire(context.Background())
		must(t, err)
		open = append(open, c)
		args, _ := insertArgs([]job.Submission{submission()})
		must(t, query(t.Context(), c, insertPlain, args, func(row) error { return nil }))
		claims := []any{newColumn(2950, 0), newColumn(23, 0), newColumn(2950, 0)}
		must(t, query(t.Context(), c, claimSQL, claims, func(row) error { return nil }))
		sets, _ := settleArgs(nil)
		for _, sql := range []string{finishSQL + settledTail, reopenSQL + settledTail, reopenSQL + failedTail} {
			must(t, query(t.Context(), c, sql, sets, func(row) error { return nil }))
		}
	}
	for _, c := range slices.Backward(open) {
		c.Release()
	}
}
