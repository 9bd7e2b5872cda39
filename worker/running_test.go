package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// A claim that ends with no job to run is the last thing that a pool waits for, now and then.
func TestAPoolThatDrainsSeesEveryClaimEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunningAttempts()
		claimed := r.claim(job.NewID())
		remove := r.add(job.AttemptKey{JobID: job.NewID(), Attempt: 1}, func(error) {})
		go func() {
			time.Sleep(time.Second)
			remove()
			time.Sleep(time.Second)
			claimed()
		}()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if !r.wait(ctx) || time.Since(began) != 2*time.Second {
			t.Errorf("it waited for %s", time.Since(began))
		}
	})
}
