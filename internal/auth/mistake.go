package auth

import (
	"errors"

	"github.com/waybill/waybill/internal/job"
)

// fieldErrors collects what is wrong with a request, so that all of it is answered at once.
type fieldErrors []job.FieldError

func (m *fieldErrors) add(err error) {
	var e *job.Error
	if errors.As(err, &e) {
		*m = append(*m, e.Fields...)
	}
}

func (m fieldErrors) err() error {
	if len(m) == 0 {
		return nil
	}
	e := job.Invalid("", "")
	e.Fields = m
	return e
}
