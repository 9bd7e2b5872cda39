package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	poolerTimeout = 10 * time.Second
	poolerRounds  = 3
)

// checkSessions looks for a session that two connections share. In transaction mode PgBouncer gives
// a server connection to each transaction that begins: a variable that one connection set shows up
// in another one, or is gone where it was set.
func (p *postgresEngine) checkSessions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	first, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer first.Release()
	second, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer second.Release()
	for range poolerRounds {
		shared, err := sharesSessions(ctx, first, second)
		switch {
		case shared:
			return ErrNoSessions
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf(
				"two sessions at once were not to be had within %v: a pooler must allow each process %s: %w",
				poolerTimeout,
				p.connsNeeded(),
				err,
			)
		case err != nil:
			return err
		}
	}
	return nil
}

func sharesSessions(ctx context.Context, first, second *pgxpool.Conn) (bool, error) {
	token, seen := rand.Text(), ""
	if err := first.QueryRow(ctx, "SELECT set_config('waybill.session', $1, false)", pgx.QueryExecModeExec,
		token).Scan(&seen); err != nil {
		return false, err
	}
	tx, err := second.Begin(ctx)
	if err != nil {
		// PgBouncer's own words, which has no mode for transactions then.
		return strings.Contains(err.Error(), "statement pooling"), err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it holds nothing
	const look = "SELECT coalesce(current_setting('waybill.session', true), '')"
	if err := tx.QueryRow(ctx, look, pgx.QueryExecModeExec).Scan(&seen); err != nil || seen == token {
		return seen == token, err
	}
	err = first.QueryRow(ctx, look, pgx.QueryExecModeExec).Scan(&seen)
	return err == nil && seen != token, err
}
