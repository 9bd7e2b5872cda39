package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/loop"
)

// acceptsWithin is how soon after an outage a submission must be accepted again.
const acceptsWithin = 10 * time.Second

// acceptsAgain submits a job until it is accepted.
func (w *cluster) acceptsAgain(ctx context.Context) error {
	o := &order{ref: "accepted-again", key: "accepted-again", kind: "accepted again", want: completed()}
	o.submit("debug.echo", "{}")
	w.book.add(o)
	ctx, cancel := context.WithTimeout(ctx, acceptsWithin)
	defer cancel()
	if !w.client.submit(ctx, o) {
		return fmt.Errorf("no submission was accepted within %v of the end of the outage", acceptsWithin)
	}
	return nil
}

// readOnlyDatabase makes the database read-only for new sessions and ends the old ones, as an
// operator may do before a switch to another server.
func readOnlyDatabase(ctx context.Context, w *cluster) error {
	if err := w.s.sql(ctx, "postgres", "ALTER DATABASE "+w.name+" SET default_transaction_read_only = on"); err != nil {
		return err
	}
	err := w.terminate(ctx)
	if err == nil {
		err = w.readyTurns(ctx, false)
	}
	loop.Sleep(ctx, 3*time.Second)
	if resetErr := w.s.sql(ctx, "postgres", "ALTER DATABASE "+w.name+
		" RESET default_transaction_read_only"); resetErr != nil {
		return errors.Join(err, resetErr)
	}
	w.healed = time.Now()
	return errors.Join(err, w.acceptsAgain(ctx), w.readyTurns(ctx, true))
}

// tickRef is the label of the jobs that the schedule of addColumns makes.
const tickRef = "tick"

// addColumns adds a column to one table after another while a schedule ticks each second.
func addColumns(ctx context.Context, w *cluster) error {
	w.book.add(&order{ref: tickRef, kind: "tick", many: true})
	var made struct {
		ID string `json:"id"`
	}
	body := fmt.Sprintf(
		`{"name":"ticks","every":"1s","job":{"type":"debug.echo","payload":{},"labels":{"ref":%q}}}`,
		tickRef,
	)
	if err := call(ctx, "POST", w.client.base+"/v1/schedules", w.s.key, body, &made); err != nil {
		return err
	}
	if err := w.addColumnToEach(ctx); err != nil {
		return err
	}
	altered := time.Now()
	err := w.eventually(ctx, 10*time.Second, func() (bool, error) {
		var n int
		err := w.pool.QueryRow(ctx, "SELECT count(*) FROM jobs WHERE labels->>'ref' = $1 AND created_at > $2 AND "+
			"state = 'completed'", tickRef, altered).
			Scan(&n)
		return n >= 3, err
	}, "the schedule ticks after every table was altered")
	var paused struct{}
	return errors.Join(
		err,
		call(
			ctx,
			"POST",
			w.client.base+"/v1/schedules/"+made.ID+"/pause",
			w.s.key,
			`{"reason":"the fault is over"}`,
			&paused,
		),
	)
}

func (w *cluster) addColumnToEach(ctx context.Context) error {
	rows, err := w.pool.Query(
		ctx,
		"SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'chaos_history' ORDER BY 1",
	)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := w.alter(ctx, "ALTER TABLE "+pgx.Identifier{t}.Sanitize()+" ADD COLUMN chaos_added int"); err != nil {
			return err
		}
		loop.Sleep(ctx, 200*time.Millisecond)
	}
	w.note(fmt.Sprintf("%d tables", len(tables)))
	return nil
}

// alter runs a statement that locks a table, with a short lock_timeout and again where that ran
// out, so that others do not queue behind it.
func (w *cluster) alter(ctx context.Context, sql string) error {
	return w.eventually(ctx, 20*time.Second, func() (bool, error) {
		err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '500ms'")
			if err == nil {
				_, err = tx.Exec(ctx, sql)
			}
			return err
		})
		return err == nil, err
	}, "%s", sql)
}

// ticked: the jobs of the schedule completed, each at its first attempt.
func ticked(e *evidence) (list []breach) {
	for id, r := range e.rows {
		if r.Ref == tickRef && (r.State != completed()[0] || r.Attempt != 1) {
			list = append(
				list,
				breach{
					"schedules tick",
					fmt.Sprintf("a tick is %s after %d attempts: %s", r.State, r.Attempt, r.LastError),
					id,
				},
			)
		}
	}
	return list
}

// oddErrors lets every write to one table of jobs after the other fail for a second, with errors
// that say nothing of the job's content.
func oddErrors(ctx context.Context, w *cluster) error {
	const raise = `CREATE FUNCTION chaos_raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'raised by chaos' USING ERRCODE = TG_ARGV[0];
	END $$`
	if _, err := w.pool.Exec(ctx, raise); err != nil {
		return err
	}
	for _, code := range []string{"58030", "0A000", "P0001", "42501", "XX001", "26000"} {
		for _, on := range []string{"INSERT ON outcomes", "INSERT OR UPDATE ON open_jobs", "INSERT ON submissions"} {
			if err := w.raise(ctx, code, on); err != nil {
				return err
			}
		}
	}
	w.healed = time.Now()
	return w.acceptsAgain(ctx)
}

func (w *cluster) raise(ctx context.Context, code, on string) error {
	if err := w.alter(ctx, fmt.Sprintf("CREATE TRIGGER chaos_odd BEFORE %s FOR EACH ROW EXECUTE FUNCTION "+
		"chaos_raise('%s')", on, code)); err != nil {
		return err
	}
	loop.Sleep(ctx, time.Second)
	_, table, _ := strings.Cut(on, " ON ")
	return w.alter(ctx, "DROP TRIGGER chaos_odd ON "+table)
}

// flushUnderTransaction empties Redis while a transaction of another program has been open since
// before the jobs were submitted.
func flushUnderTransaction(ctx context.Context, w *cluster) error {
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it only had to be open
	if _, err := tx.Exec(ctx, "SELECT pg_current_xact_id()"); err != nil {
		return err
	}
	w.waitAhead(ctx)
	if err := w.rdb.FlushAll(ctx).Err(); err != nil {
		return err
	}
	return w.backInRedis(ctx)
}

// throughBouncer submits a backlog in batches, so that every statement of the hot path passes
// PgBouncer under load.
func throughBouncer(ctx context.Context, w *cluster) error {
	w.flood(ctx, "backlog", 3, 1000, 100)
	loop.Sleep(ctx, 5*time.Second)
	return w.readyTurns(ctx, true)
}
