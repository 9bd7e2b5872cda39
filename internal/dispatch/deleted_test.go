package dispatch

import (
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func TestATaskDeletedAfterTheWatermarkVouchedForItIsSentAgain(t *testing.T) {
	t.Parallel()
	b := newAuditBench(t)
	b.audit.cfg.Overdue = time.Microsecond
	j := b.create(1, func(s *job.Submission) { s.RunAt = time.Now().Add(time.Hour) })[0]
	b.send(j)
	b.pass()
	if err := b.d.insp.DeleteTask("default", job.TaskID(j.ID, 1)); err != nil {
		t.Fatal(err)
	}
	b.pass()
	if !b.known(j) {
		t.Error("Redis does not know the task, and nobody will send it")
	}
}
