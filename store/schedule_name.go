package store

import "github.com/waybill/waybill/internal/job"

func nameTaken() error {
	return &job.Error{Code: job.CodeConflict, Message: "there is a schedule of this name"}
}
