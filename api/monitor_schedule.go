package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

const (
	schedulerEntries = monitorAPI + "/scheduler_entries"
	enqueueEvents    = "/enqueue_events"

	maxSchedulerEntries = 1000
	maxEnqueueEvents    = 100
)

// schedulePayload stands for the payloads of schedules, which lists of schedules do not read.
const schedulePayload = `{"waybill":"see the schedule"}`

// schedulerEntry is a schedule as asynqmon's page shows those of asynq's own scheduler.
type schedulerEntry struct {
	ID      string   `json:"id"`
	Spec    string   `json:"spec"`
	Type    string   `json:"task_type"`
	Payload string   `json:"task_payload"`
	Options []string `json:"options"`
	Next    string   `json:"next_enqueue_at,omitempty"`
	Prev    string   `json:"prev_enqueue_at,omitempty"`
}

type enqueueEvent struct {
	TaskID string `json:"task_id"`
	At     string `json:"enqueued_at"`
}

// schedules answers Waybill's schedules, the newest first. asynq knows none of them.
func (m *monitor) schedules(c *gin.Context) (any, error) {
	ctx := c.Request.Context()
	list, err := m.ledger.Schedules(ctx, job.ScheduleFilter{Limit: maxSchedulerEntries})
	if err != nil {
		return nil, err
	}
	ids := make([]job.ID, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	last, err := m.ledger.LastPlanned(ctx, ids)
	if err != nil {
		return nil, err
	}
	entries := make([]schedulerEntry, len(list))
	for i, s := range list {
		entries[i] = newSchedulerEntry(s, last[s.ID])
	}
	return map[string]any{"entries": entries}, nil
}

func newSchedulerEntry(s *job.Schedule, last time.Time) schedulerEntry {
	spec := s.Cron + " " + s.Timezone
	if s.Every > 0 {
		spec = "@every " + s.Every.String()
	}
	e := schedulerEntry{
		ID:      s.ID.String(),
		Spec:    strings.TrimSpace(spec),
		Type:    s.Job.Type,
		Payload: schedulePayload,
		Options: []string{
			fmt.Sprintf("Name(%q)", s.Name),
			fmt.Sprintf("Queue(%q)", s.Job.Queue),
			"MaxRetry(" + strconv.Itoa(s.Job.MaxRetries) + ")",
			"Timeout(" + s.Job.Timeout.String() + ")",
		},
	}
	if !s.PausedAt.IsZero() {
		e.Options = append(e.Options, fmt.Sprintf("Paused(%q)", s.PauseReason))
	}
	if !s.NextAt.IsZero() {
		e.Next = s.NextAt.UTC().Format(time.RFC3339)
	}
	if !last.IsZero() {
		e.Prev = last.UTC().Format(time.RFC3339)
	}
	return e
}

// scheduleEvents answers the newest jobs of one schedule.
func (m *monitor) scheduleEvents(c *gin.Context) (any, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(c.Request.URL.Path, schedulerEntries+"/"), enqueueEvents)
	id, err := job.ParseID(text)
	if err != nil {
		return nil, job.NotFound("schedule")
	}
	ticks, err := m.ledger.Ticks(
		c.Request.Context(),
		job.TickFilter{ScheduleID: id, WithJob: true, Limit: maxEnqueueEvents},
	)
	if err != nil {
		return nil, err
	}
	events := make([]enqueueEvent, len(ticks))
	for i, t := range ticks {
		events[i] = enqueueEvent{t.JobID.String(), t.DecidedAt.UTC().Format(time.RFC3339)}
	}
	return map[string]any{"events": events}, nil
}
