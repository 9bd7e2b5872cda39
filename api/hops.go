package api

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// hops is how many jobs led to this request, as the header says that every request of a job
// carries; 0: no job sent it.
func hops(c *gin.Context) int {
	values := c.Request.Header[job.HopsHeader]
	switch len(values) {
	case 0:
		return 0
	case 1:
		return job.ParseHops(values[0])
	}
	return job.MaxHops + 1
}

// countHops keeps with new jobs how many jobs led to them, and refuses a chain that has become too
// long. A client that answers to a job's request by submitting others passes the header on.
func countHops(c *gin.Context, subs ...*job.Submission) error {
	n := hops(c)
	if n == 0 {
		return nil
	}
	if n > job.MaxHops {
		return forbidden(
			fmt.Sprintf(
				"%d jobs led to this one, each submitted by a request of the one before: that is the most there may be",
				job.MaxHops,
			),
		)
	}
	for i, sub := range subs {
		if len(sub.Labels) >= job.MaxLabels {
			return job.Invalid(
				"/labels",
				fmt.Sprintf(
					"may be %d in what a job's request submits (job %d): one more says how many jobs led to it",
					job.MaxLabels-1,
					i,
				),
			)
		}
		labels := maps.Clone(sub.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[job.HopsLabel] = strconv.Itoa(n)
		sub.Labels = labels
	}
	return nil
}

// refuseJobs refuses what would let jobs make each other run for ever: their number of hops would
// begin again each time.
func refuseJobs(c *gin.Context) error {
	if hops(c) == 0 {
		return nil
	}
	return forbidden("a job's request may not do this: it could make jobs run each other without end")
}
