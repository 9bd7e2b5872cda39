package auth

import (
	"errors"

	"github.com/waybill/waybill/internal/job"
)

// mistakes collects what is wrong with a request, so that all of it is answered at once.
type mistakes []job.FieldError

func (m *mistakes) add(err error) {
	var e *job.Error
	if errors.As(err, &e) {
		*m = append(*m, e.Fields...)
	}
}

func (m mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	e := job.Invalid("", "")
	e.Fields = m
	return e
}
