package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/job"
)

// maxBatchKey leaves room for what makes a key of its own for each job of a batch.
const maxBatchKey = job.MaxIdempotency - len(job.BatchMark+"9999")

// maxItem are the bytes of a job in a batch: its payload, and more than enough for all else that a
// job may have.
const maxItem = job.MaxPayload + 64<<10

var itemTooLong = fmt.Sprintf("a job may have %d bytes", maxItem)

// createBatch takes up to job.MaxBatch jobs, all or none. The body is read whole, and the jobs'
// payloads are parts of it: a batch needs little more memory than its body has bytes, and the
// bodies of all batches together are bounded.
func (h *jobHandler) createBatch(c *gin.Context) (any, error) {
	key, err := idempotencyKey(c, maxBatchKey)
	if err != nil {
		return nil, err
	}
	// Reading a body costs something even where it is refused, so that the first job is paid for
	// before.
	owner := caller(c).UserID
	if err := h.quota.take(c, owner, 1); err != nil {
		return nil, err
	}
	body, err := readBody(c, append([]string{"application/json"}, lineMedia...)...)
	if err != nil {
		return nil, err
	}
	subs, err := h.check.readBatch(body, isLines(c), owner, h.deps.LedgerNow())
	if err != nil {
		return nil, err
	}
	if err := h.quota.takeRest(c, owner, len(subs), 1); err != nil {
		return nil, err
	}
	if hops(c) > 0 {
		all := make([]*job.Submission, len(subs))
		for i := range subs {
			all[i] = &subs[i]
		}
		if err := countHops(c, all...); err != nil {
			return nil, err
		}
	}
	if key != "" {
		nameAll(subs, key, fingerprint(c.FullPath(), body))
	}
	return h.writeBatch(c, owner, subs)
}

// lineMedia are the names that JSON of one value a line goes by.
var lineMedia = []string{
	"application/x-ndjson",
	"application/ndjson",
	"application/jsonl",
	"application/x-jsonlines",
	"application/jsonlines",
}

func isLines(c *gin.Context) bool {
	got := c.GetHeader("Content-Type")
	return slices.ContainsFunc(lineMedia, func(want string) bool { return isMedia(got, want) })
}

func (h *jobHandler) writeBatch(c *gin.Context, owner job.ID, subs []job.Submission) (any, error) {
	made, err := h.jobs.CreateAll(c.Request.Context(), subs)
	if err != nil {
		return nil, fmt.Errorf("create %d jobs: %w", len(subs), err)
	}
	for i, m := range made {
		if m.Job.Payload == nil {
			m.Job.Payload = subs[i].Payload
		}
	}
	h.send(owner, made...)
	fresh := slices.ContainsFunc(made, func(m job.Created) bool { return !m.Replayed })
	return reply{Status: http.StatusAccepted, Replayed: !fresh, Body: batchBody(made)}, nil
}

// nameAll gives each job of a batch an idempotency key made of the batch's. The fingerprint is that
// of the whole body.
func nameAll(subs []job.Submission, key string, fingerprint []byte) {
	for i := range subs {
		subs[i].IdempotencyKey = job.BatchKey(key, i)
		subs[i].Fingerprint = fingerprint
	}
}

// readJob reads and checks the body of one job. Every mistake in it is in the error.
func (k checker) readJob(body []byte, owner job.ID, now time.Time) (job.Submission, error) {
	in := newCreateJob(now)
	s := scan(body)
	defer s.free()
	s.document(func() { s.expectKind('{', func() { s.members(in) }) })
	if s.stop != nil {
		return job.Submission{}, s.stop
	}
	sub, mistakes := k.check(in, owner)
	s.add("", mistakes)
	return sub, s.err()
}

// readBatch reads and checks a JSON array of jobs, or one job on each line.
func (k checker) readBatch(body []byte, lines bool, owner job.ID, now time.Time) ([]job.Submission, error) {
	s := scan(body)
	defer s.free()
	var subs []job.Submission
	in, n := new(createJob), 0
	each := func() {
		if n++; n > job.MaxBatch {
			s.stop = job.Invalid("", fmt.Sprintf("a batch may have %d jobs", job.MaxBatch))
			return
		}
		if sub, ok := k.readItem(s, in, owner, now); ok {
			if subs == nil { // the others are about as long as the first
				subs = make([]job.Submission, 0, min(len(body)/s.pos+1, job.MaxBatch))
			}
			subs = append(subs, sub)
		}
	}
	if lines {
		s.lines(each)
	} else {
		s.document(func() { s.expectKind('[', func() { s.elements(each) }) })
	}
	if n == 0 {
		s.refuse("has no jobs")
	}
	return subs, s.err()
}

// readItem reads one job of a batch. in is room for it.
func (k checker) readItem(s *scanner, in *createJob, owner job.ID, now time.Time) (sub job.Submission, ok bool) {
	if s.peek() != '{' {
		s.within(maxItem, itemTooLong, func() { s.skip() })
		if s.stop == nil {
			s.refuse("must be an object")
		}
		return sub, false
	}
	in.clear(now)
	before := len(s.mistakes)
	s.within(maxItem, itemTooLong, func() { s.members(in) })
	if s.stop != nil {
		return sub, false
	}
	sub, mistakes := k.check(in, owner)
	if len(mistakes) > 0 {
		s.add(s.pointer(), mistakes)
	}
	return sub, len(s.mistakes) == before
}

// lines walks over newline-delimited JSON: one value on each line; empty lines don't count.
func (s *scanner) lines(each func()) {
	all := s.data
	defer func() { s.data = all }()
	s.path = append(s.path, step{})
	for s.pos < len(all) && s.stop == nil {
		end := bytes.IndexByte(all[s.pos:], '\n')
		if end < 0 {
			end = len(all) - s.pos
		}
		s.data = all[:s.pos+end]
		if s.space(); s.pos < len(s.data) {
			each()
			s.path[0].index++
			if s.space(); s.stop == nil && s.pos < len(s.data) {
				s.malformed("something after the end of the JSON")
			}
		}
		s.pos++
	}
	s.path = s.path[:0]
}

// add takes mistakes that were found elsewhere, seen from the pointer at, except at places where
// the scanner found one itself: what it refused looks like missing to others.
func (s *scanner) add(at string, mistakes []job.FieldError) {
	own := s.mistakes
	for _, m := range mistakes {
		m.Pointer = at + m.Pointer
		same := func(o job.FieldError) bool { return o.Pointer == m.Pointer }
		if len(s.mistakes) < maxReported && !slices.ContainsFunc(own, same) {
			s.mistakes = append(s.mistakes, m)
		}
	}
	if len(s.mistakes) == maxReported && s.stop == nil {
		s.stop = invalid(s.mistakes)
	}
}
