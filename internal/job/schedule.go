package job

import "time"

// Limits of schedules that the API, the store's CHECKs and the documentation share.
const (
	MaxScheduleName    = 100
	MaxCron            = 255 // bytes of a cron expression
	MaxEvery           = 366 * 24 * time.Hour
	MaxJitter          = 24 * time.Hour
	MaxMissedWindow    = 30 * 24 * time.Hour
	MaxScheduleReason  = 255    // bytes of the reason of a pause
	MaxSchedules       = 20_000 // of one owner
	MaxBackfill        = 10_000 // planned times in one backfill
	MaxBackfillSpacing = time.Hour
	// ScheduleLabel is on every job that a schedule makes, with the schedule's name.
	ScheduleLabel = "waybill/schedule"
	// ByItself is who paused a schedule that no person did.
	ByItself = "waybill"
)

// MissedPolicy says what becomes of a planned time at which no process was there to decide it.
type MissedPolicy string

const (
	MissedSkip   MissedPolicy = "skip"   // none is made up for
	MissedLatest MissedPolicy = "latest" // the newest is
	MissedAll    MissedPolicy = "all"    // each is
)

// MissedPolicies lists all of them.
var MissedPolicies = []MissedPolicy{MissedSkip, MissedLatest, MissedAll}

// OverlapPolicy says what becomes of a planned time while an earlier job of the schedule is not
// finished.
type OverlapPolicy string

const (
	OverlapAllow OverlapPolicy = "allow" // its job runs beside the earlier one
	OverlapSkip  OverlapPolicy = "skip"  // it is passed over
	// One waits for the earlier jobs to finish, further ones are passed over.
	OverlapBuffer OverlapPolicy = "buffer_one"
	OverlapCancel OverlapPolicy = "cancel_running" // the earlier jobs are canceled
)

// OverlapPolicies lists all of them.
var OverlapPolicies = []OverlapPolicy{OverlapAllow, OverlapSkip, OverlapBuffer, OverlapCancel}

// Timing names the planned times of a schedule: by a cron expression on the wall clock of a zone,
// or by an interval.
type Timing struct {
	Cron     string        // five fields, six with seconds, or a descriptor such as @daily; empty: Every holds
	Every    time.Duration // whole seconds, counted from StartAt, or else from the schedule's creation
	Timezone string        // IANA name; Cron's wall clock
	StartAt  time.Time     // nothing is planned before it; zero: no bound. To the second
	EndAt    time.Time     // nothing is planned after it; zero: no bound. To the second
}

// Schedule submits the same job again and again. What became of each planned time is a Tick.
type Schedule struct {
	ID      ID
	OwnerID ID
	Name    string // unique among its owner's
	Timing
	Jitter       time.Duration // each job runs up to so much later than planned; the same for the same planned time
	Missed       MissedPolicy
	MissedWindow time.Duration // planned times that are older are not made up for
	Overlap      OverlapPolicy
	Job          Submission // the template: ID, OwnerID, RunAt and Deadline are not set

	CreatedAt time.Time
	UpdatedAt time.Time
	Revision  int // goes up with each change of what people set

	NextAt      time.Time // the next planned time that is to be decided; zero: paused, or none is left
	BufferedAt  time.Time // the planned time that waits for earlier jobs; zero: none
	OpenFrom    ID        // the schedule's jobs with smaller ids are all finished
	PausedAt    time.Time // zero: not paused
	PausedBy    string    // an e-mail, or ByItself
	PauseReason string
	DeletedAt   time.Time // zero: it exists; otherwise only its ticks do, until their retention ends
}

// Outcome is what became of a planned time.
type Outcome string

const (
	Fired          Outcome = "fired"           // its job was made on time
	SkippedOverlap Outcome = "skipped_overlap" // an earlier job was not finished
	Buffered       Outcome = "buffered"        // it waits for earlier jobs, or waited: then it has a job
	Missed         Outcome = "missed"          // no worker ran to decide it in time
	CaughtUp       Outcome = "caught_up"       // its job was made late
	Backfilled     Outcome = "backfilled"      // its job was made by a backfill
	Triggered      Outcome = "triggered"       // a job was requested by hand at that moment
)

// Outcomes lists all of them.
var Outcomes = []Outcome{Fired, SkippedOverlap, Buffered, Missed, CaughtUp, Backfilled, Triggered}

// Tick is a row of the tick ledger: one planned time of a schedule and what became of it.
type Tick struct {
	ScheduleID ID
	PlannedAt  time.Time
	Outcome    Outcome
	JobID      ID // zero: no job was made for it
	DecidedAt  time.Time
}

// DueSchedule is a schedule as it stands in the ledger, locked, with its jobs that are not
// finished. Those are not looked up where the overlap policy does not ask for them.
type DueSchedule struct {
	Schedule
	Open []ID
	// OwnerDisabled: its owner may submit nothing.
	OwnerDisabled bool
}

// PlannedTick is a decision on one planned time. Job, where there is one, is written together with
// the tick, or neither is.
type PlannedTick struct {
	PlannedAt time.Time
	Outcome   Outcome
	Job       *Submission
	Redo      bool // a tick that was decided before, but has no job, gives way to this one
	// Key names the request that asked for a Triggered tick; empty: none. A second one of its
	// schedule with the same key is not written.
	Key string
}

// ScheduleDecision is what shall stand in the ledger about one schedule.
type ScheduleDecision struct {
	Schedule Schedule
	Ticks    []PlannedTick
	Cancel   []ID // jobs to cancel
	// Settings reports that what people set has changed, too. Otherwise only NextAt, BufferedAt,
	// OpenFrom and the pause are written.
	Settings bool
}

// Decided is what a transaction over schedules has written.
type Decided struct {
	Schedules []Schedule // as they stand
	Ticks     []Tick     // without those that had been decided before
	Created   []*Job
	Canceled  []*Job // canceled: finished, or asked to stop
}

// Add appends what another transaction decided.
func (d *Decided) Add(more *Decided) {
	d.Schedules = append(d.Schedules, more.Schedules...)
	d.Ticks = append(d.Ticks, more.Ticks...)
	d.Created = append(d.Created, more.Created...)
	d.Canceled = append(d.Canceled, more.Canceled...)
}

// ScheduleFilter picks schedules for a list, newest first. Zero fields don't filter.
type ScheduleFilter struct {
	OwnerID ID
	Name    string
	Before  ID // the last id of the page before
	Limit   int
}

// TickFilter picks ticks of one schedule, newest planned time first. Zero fields don't filter.
type TickFilter struct {
	ScheduleID ID
	Outcome    Outcome
	From       time.Time // planned at or after
	Before     time.Time // planned before
	WithJob    bool      // only those that have one
	Key        string    // that of the request that triggered it
	Limit      int
}
