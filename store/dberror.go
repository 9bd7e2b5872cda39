package store

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/waybill/waybill/internal/job"
)

// dbError is what a failed statement is due to. This is the one place where the engines' errors are
// classified: postgres_error.go and sqlite.go sort them, wrap turns the class into what callers may
// know.
type dbError int

const (
	// noFault is an error that the database did not give: sql.ErrNoRows, a bug of ours.
	noFault dbError = iota
	// faultReach is of the connection, the server, its resources or another transaction. It says
	// nothing of the rows.
	faultReach
	// faultStatement is every other refusal, known or not. One of the rows may be the cause, and
	// without it the others may be written.
	faultStatement
	// faultContent is a refusal that names a value (SQLSTATE class 22 or 23). It is of one row's
	// content only where that row was alone and the refusal was repeated.
	faultContent
)

// wrap names what was being done, and turns an error of the database into one that says to come
// back: a statement that failed now may succeed later, whatever its SQLSTATE. job.FaultOf tells
// callers who hold a row whether the row may be the cause.
func (s *Store) wrap(doing string, err error) error {
	if err == nil || errors.As(err, new(*job.Error)) {
		return err
	}
	cause := fmt.Errorf("%s: %w", doing, err)
	switch s.engine.classify(err) {
	case faultReach:
		return job.Unavailable("the ledger cannot be reached", cause)
	case faultStatement:
		return refusal(cause, job.FaultStatement)
	case faultContent:
		return refusal(cause, job.FaultContent)
	default:
		return cause
	}
}

func refusal(cause error, of job.Fault) error {
	e := job.Unavailable("the ledger cannot do this now", cause)
	e.Fault = of
	return e
}

// found is wrap for look-ups: only sql.ErrNoRows means that what was not found; a failed look-up is
// never reported as missing.
func (s *Store) found(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return job.NotFound(what)
	}
	return s.wrap("select "+what, err)
}
