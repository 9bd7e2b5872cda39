package store

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill/waybill/internal/job"
)

func nameTaken() error {
	return &job.Error{Code: job.CodeConflict, Message: "there is a schedule of this name"}
}

func (p *postgres) duplicate(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}
