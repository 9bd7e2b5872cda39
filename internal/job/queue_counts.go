package job

import "time"

// QueueCounts is what the ledger knows of a queue's open jobs.
type QueueCounts struct {
	Queue string
	Open  map[State]int // jobs in each open state; a state that is missing has none
	// OldestDue is for how long the job that waits longest could have run already; zero: none
	// waits.
	OldestDue time.Duration
	// Cut says that there are more jobs than were counted: Open says "at least".
	Cut bool
}
