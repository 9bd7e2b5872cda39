package schedule

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"maps"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// Placeholders that a payload may hold, within strings.
const (
	plannedAt   = "{{planned_at}}"   // RFC 3339 in UTC: 2026-03-29T01:00:00Z
	plannedDate = "{{planned_date}}" // the day in the schedule's zone: 2026-03-29
)

// renderTemplate makes the job of one planned time from the template.
func renderTemplate(s *job.Schedule, loc *time.Location, planned time.Time) *job.Submission {
	sub := s.Job
	sub.ID, sub.OwnerID = job.NewID(), s.OwnerID
	sub.Payload = renderPayload(s.Job.Payload, loc, planned)
	sub.Labels = maps.Clone(s.Job.Labels)
	if sub.Labels == nil {
		sub.Labels = map[string]string{}
	}
	sub.Labels[job.ScheduleLabel] = s.Name
	if s.Jitter > 0 {
		sub.RunAt = planned.Add(jitter(s.ID, planned, s.Jitter))
	}
	return &sub
}

// Sample is payload with its placeholders filled by a time that makes them as long as they get.
func Sample(payload json.RawMessage, timezone string) json.RawMessage {
	return renderPayload(payload, Zone(timezone), sampleTime())
}

func sampleTime() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 123_456_000, time.UTC) }

func renderPayload(payload json.RawMessage, loc *time.Location, planned time.Time) json.RawMessage {
	if !bytes.Contains(payload, []byte("{{planned_")) {
		return payload
	}
	payload = bytes.ReplaceAll(payload, []byte(plannedAt), []byte(planned.UTC().Format(time.RFC3339Nano)))
	return bytes.ReplaceAll(payload, []byte(plannedDate), []byte(planned.In(loc).Format(time.DateOnly)))
}

// jitter is less than limit, and the same for the same planned time whichever process computes it.
func jitter(schedule job.ID, planned time.Time, limit time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write(schedule[:]) // a hash never fails
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(planned.UnixMicro())))
	ms := uint64(max(limit.Milliseconds(), 1))
	return time.Duration(h.Sum64()%ms) * time.Millisecond
}
