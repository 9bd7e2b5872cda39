package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// span is over which days the finished jobs are spread: all younger than the retention.
const span = 20 * 24 * time.Hour

// finished makes jobs $4 to $5 of $3 as if they had been submitted over the last $2 milliseconds
// since $1. idOf makes the same ids.
const finished = `
SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(r, 1, 3) || '8' || substr(r, 4, 15))::uuid AS id, to_timestamp(ms / 1000.0) AS at,
	CASE i % 100 WHEN 0 THEN 'archived' WHEN 1 THEN 'canceled' ELSE 'completed' END AS state
FROM (SELECT i, $1::bigint + i * $2::bigint / $3::bigint AS ms, md5(i::text) AS r FROM generate_series($4::bigint, $5::bigint) AS i) AS numbered`

var fillSQL = []string{
	`INSERT INTO submissions (id, owner_id, type, queue, created_at, max_retries, timeout_ms, backoff_kind, backoff_base_ms, backoff_max_ms, payload)
	SELECT id, (SELECT id FROM users WHERE email = '` + email +
		`'), 'debug.echo', 'default', at, 25, 30000, 'exponential', 10000, 3600000, '{"n":1}'
	FROM (` + finished + `) AS f`,
	`INSERT INTO outcomes (id, queue, state, finished_at, run_at, delivery, attempt, settled_attempt, failures, interruptions, started_at, cancel_requested_at, result)
	SELECT id, 'default', state, at + interval '20 milliseconds', at, 1, 1, 1, 0, 0, at + interval '10 milliseconds',
		CASE state WHEN 'canceled' THEN at END, CASE state WHEN 'completed' THEN '{"n":1}'::json END
	FROM (` + finished + `) AS f`,
}

// chunk is how many jobs are written in one transaction.
const chunk = 200_000

// writeFinished writes finished jobs past the API, which would take hours.
func (s *stage) writeFinished(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.database("waybill"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return err
	}
	s.filled = time.Now().Add(-span - time.Hour).UnixMilli()
	n := s.o.scaleFinished
	for from := 1; from <= n; from += chunk {
		s.o.Log(fmt.Sprintf("writing finished jobs: %d of %d", from-1, n))
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for _, sql := range fillSQL {
				if _, err := tx.Exec(ctx, sql, s.filled, span.Milliseconds(), n, from,
					min(from+chunk-1, n)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// calm leaves the tables as autovacuum would after a while, so that it does nothing to them while
// something is measured, and the planner knows them.
func (s *stage) calm(ctx context.Context) error {
	s.o.Log("vacuuming")
	for _, sql := range []string{"VACUUM (ANALYZE) submissions", "VACUUM (ANALYZE) open_jobs",
		"VACUUM (ANALYZE) outcomes", "CHECKPOINT"} {
		if err := s.sql(ctx, "waybill", sql); err != nil {
			return err
		}
	}
	return nil
}

// filledIDs are some of those jobs, from all over.
func (s *stage) filledIDs(_ context.Context, n int) ([]string, error) {
	ids := make([]string, n)
	for k := range ids {
		ids[k] = s.idOf(1 + rand.Int64N(int64(s.o.scaleFinished)))
	}
	return ids, nil
}

func (s *stage) idOf(i int64) string {
	ms := s.filled + i*span.Milliseconds()/int64(s.o.scaleFinished)
	sum := md5.Sum(fmt.Append(nil, i))
	r := hex.EncodeToString(sum[:])
	text := fmt.Sprintf("%012x7%s8%s", ms, r[:3], r[3:18])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// someIDs are jobs that were submitted through the API.
func (s *stage) someIDs(ctx context.Context, n int) ([]string, error) {
	conn, err := pgx.Connect(ctx, s.database("waybill"))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id::text FROM outcomes ORDER BY random() LIMIT $1", n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
