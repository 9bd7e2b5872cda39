package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// classify sorts PostgreSQL's errors by SQLSTATE.
// https://www.postgresql.org/docs/15/errcodes-appendix.html
func (p *postgresEngine) classify(err error) dbError {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return noFault
	case unreachable(err):
		return faultReach
	case !errors.As(err, &pg):
		return noFault
	case fatal(pg):
		return faultReach
	}
	return classifyState(pg.Code)
}

// fatal reports an error that ended the session.
func fatal(e *pgconn.PgError) bool {
	return strings.EqualFold(e.SeverityUnlocalized, "FATAL") || strings.EqualFold(e.Severity, "FATAL")
}

// classifyState knows the classes that say nothing of a statement's rows: 08 connection, 25006
// read-only, 40 rolled back for another transaction's sake, 53 resources, 55P03 lock timeout, 57
// operator intervention (shutdown, cancellation, timeouts). Every code that is not listed is of the
// statement.
func classifyState(code string) dbError {
	class := code[:min(2, len(code))]
	switch {
	case class == "22", class == "23":
		return faultContent
	case class == "08", class == "40", class == "53", class == "57", code == readOnlyState, code == "55P03":
		return faultReach
	default:
		return faultStatement
	}
}

// unreachable reports an error of the way to a statement: of the network, of opening a connection
// or setting it up (whatever SQLSTATE that met), or of a connection or transaction that ended
// meanwhile.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	var session *sessionError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &session) || errors.As(err, &network) || pgconn.SafeToRetry(err) {
		return true
	}
	for _, known := range []error{io.ErrUnexpectedEOF, io.EOF, context.DeadlineExceeded, net.ErrClosed,
		driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone,
		pgx.ErrTxClosed, pgx.ErrTxCommitRollback} {
		if errors.Is(err, known) {
			return true
		}
	}
	return strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed pool")
}

const readOnlyState = "25006" // read_only_sql_transaction

// stalePlan reports that a session's prepared statement no longer fits the schema, or is unknown to
// the server behind a pooler. The statement was not executed. PostgreSQL's routine tells this from
// the same SQLSTATE raised by a trigger or for an unsupported feature.
func stalePlan(e *pgconn.PgError) bool {
	switch e.Code {
	case "0A000":
		return e.Routine == "RevalidateCachedQuery"
	case "26000":
		return e.Routine == "" || e.Routine == "FetchPreparedStatement"
	}
	return e.Code == "42P05"
}

// onError is called by the driver for every error of a connection, and says whether the connection
// may be used again. After a stale plan the other connections are replaced too: they hold the same
// plan, and a repetition would meet it there.
func (p *postgresEngine) onError(c *pgconn.PgConn, e *pgconn.PgError) bool {
	switch {
	case fatal(e), e.Code == readOnlyState:
		return false
	case stalePlan(e):
		p.replace(c)
		return false
	}
	return true
}

// repeatable reports that a statement, or a transaction as a whole, did nothing and may succeed at
// once: its plan was stale, or it gave way to another transaction (serialization failure,
// deadlock).
func (p *postgresEngine) repeatable(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (stalePlan(e) || e.Code == "40001" || e.Code == "40P01")
}

func (p *postgresEngine) duplicate(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}
