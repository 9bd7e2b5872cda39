package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

func TestAJobGoesItsWholeWay(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		sub := submission(func(s *job.Submission) {
			s.Labels = map[string]string{"team": "red"}
			s.Payload = json.RawMessage("{\"b\":1.10,  \"a\":12345678901234567890, \"z\":\"\\u00e9\"}")
			s.Deadline = time.Now().Add(time.Hour).Truncate(time.Microsecond)
			s.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		})
		j := create(t, s, sub)[0]
		if j.State != job.Pending || j.Delivery != 1 || j.CreatedAt.IsZero() {
			t.Fatalf("created as %+v", j)
		}
		w := job.NewID()
		got := mustClaim(t, s, j, w)
		if !bytes.Equal(got.Payload, sub.Payload) {
			t.Errorf("the handler gets %s, sent was %s", got.Payload, sub.Payload)
		}
		if got.Attempt != 1 || got.Labels["team"] != "red" || !got.Deadline.Equal(sub.Deadline) ||
			got.Timeout != sub.Timeout || got.Traceparent != sub.Traceparent ||
			got.Backoff != sub.Backoff || got.MaxRetries != 3 ||
			got.OwnerID != sub.OwnerID {
			t.Errorf("claimed as %+v", got)
		}
		if a := read(t, s, j.ID); a.State != job.Active || a.Worker != w.String() || a.StartedAt.IsZero() {
			t.Errorf("running, it reads %+v", a)
		}
		set := settlement(got, w, job.Completed)
		set.Result = json.RawMessage(`{ "ok":1.0 }`)
		if r := settle(t, s, set); !r.Accepted || r.State != job.Completed {
			t.Fatalf("settled as %+v", r)
		}
		done := read(t, s, j.ID)
		if done.State != job.Completed || string(done.Result) != `{ "ok":1.0 }` || done.FinishedAt.IsZero() ||
			!bytes.Equal(done.Payload, sub.Payload) {
			t.Errorf("finished, it reads %+v", done)
		}
	})
}

func TestARunAtAheadMakesAJobScheduled(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		at := time.Now().Add(time.Hour)
		jobs := create(
			t,
			s,
			submission(func(s *job.Submission) { s.RunAt = at }),
			submission(func(s *job.Submission) { s.RunAt = time.Now().Add(-time.Hour) }),
		)
		if jobs[0].State != job.Scheduled || jobs[0].RunAt.Sub(at).Abs() > time.Millisecond {
			t.Errorf("ahead: %s at %s", jobs[0].State, jobs[0].RunAt)
		}
		if jobs[1].State != job.Pending || jobs[1].RunAt.Before(jobs[1].CreatedAt) {
			t.Errorf("past: %s at %s", jobs[1].State, jobs[1].RunAt)
		}
		if c := claim(t, s, jobs[0], job.NewID()); c.Decision != job.Postpone || c.Wait < 59*time.Minute {
			t.Errorf("a claim before its time answers %+v", c)
		}
	})
}

func TestAKeyMakesOneJob(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := job.NewID()
		keyed := func(print string) job.Submission {
			return submission(
				func(s *job.Submission) { s.OwnerID, s.IdempotencyKey, s.Fingerprint = owner, "k", []byte(print) },
			)
		}
		other := submission(func(s *job.Submission) { s.IdempotencyKey, s.Fingerprint = "k", []byte("x") })
		made, errs, err := s.Create(
			t.Context(),
			[]job.Submission{keyed("x"), keyed("x"), keyed("y"), other, submission()},
		)
		if err != nil {
			t.Fatal(err)
		}
		if errs[0] != nil || made[0].Replayed || errs[1] != nil || !made[1].Replayed ||
			made[1].Job.ID != made[0].Job.ID {
			t.Errorf("the same request twice: %+v %+v %v", made[0], made[1], errs)
		}
		if !errors.Is(errs[2], job.ErrKeyReused) {
			t.Errorf("another request with the key: %v", errs[2])
		}
		if errs[3] != nil || made[3].Replayed || errs[4] != nil || made[4].Replayed {
			t.Errorf("others' submissions: %+v %v", made[3:], errs)
		}
	})
}

func TestABatchIsAllOrNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := job.NewID()
		batch := func(print string, n int) (subs []job.Submission) {
			for i := range n {
				subs = append(subs, submission(func(s *job.Submission) {
					s.OwnerID, s.IdempotencyKey, s.Fingerprint = owner, fmt.Sprint("k#", i), []byte(print)
				}))
			}
			return subs
		}
		first, err := s.CreateAll(t.Context(), batch("x", 3))
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.CreateAll(t.Context(), batch("x", 3))
		if err != nil || !again[2].Replayed || again[2].Job.ID != first[2].Job.ID {
			t.Errorf("repeated: %+v, %v", again, err)
		}
		if _, err := s.CreateAll(t.Context(), batch("y", 5)); !errors.Is(err, job.ErrKeyReused) {
			t.Errorf("another batch with the key: %v", err)
		}
		all, err := s.Jobs(t.Context(), job.Filter{OwnerID: owner, Limit: 50})
		if err != nil || len(all) != 3 {
			t.Errorf("%d jobs are left, %v", len(all), err)
		}
	})
}

// Whatever stands beside it in its batch.
func TestABatchIsWrittenAsItsJobsAreOneByOne(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		at := time.Date(2999, 12, 31, 23, 59, 59, 123456789, time.UTC)
		kinds := []func(*job.Submission){
			func(*job.Submission) {},
			func(s *job.Submission) { s.RunAt, s.Queue = at, "low" },
			func(s *job.Submission) { s.Deadline, s.Timeout, s.MaxRetries = at, 7*24*time.Hour, 1000 },
			func(s *job.Submission) {
				s.Backoff = job.Backoff{Kind: job.Fixed, Base: time.Hour, Max: 720 * time.Hour}
			},
			func(s *job.Submission) { s.IdempotencyKey, s.Fingerprint = "schlüssel\t\\N", []byte{0, 1, 255} },
			func(s *job.Submission) { s.Labels = map[string]string{"b": "", "a": "ß\n\"\\"} },
			func(s *job.Submission) {
				s.Payload = json.RawMessage(`{"b":1e400, "a":"\u0000\ud83d\ude00 😀\\." ,"b": null}`)
			},
			func(s *job.Submission) { s.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
			func(s *job.Submission) { s.Payload = json.RawMessage(`"` + strings.Repeat("x", 100_000) + `"`) },
		}
		read := func(id job.ID) *job.Job {
			j, err := s.Job(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if j.State == job.Pending {
				j.RunAt = time.Time{}
			}
			j.ID, j.OwnerID, j.CreatedAt = job.ID{}, job.ID{}, time.Time{}
			return j
		}
		batch := make([]job.Submission, len(kinds))
		for i, kind := range kinds {
			batch[i] = submission(kind)
		}
		made, err := s.CreateAll(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, kind := range kinds {
			want, got := read(create(t, s, submission(kind))[0].ID), read(made[i].Job.ID)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%d: got %+v, want %+v", i, got, want)
			}
			if labels := batch[i].Labels; labels != nil {
				page, err := s.Jobs(t.Context(), job.Filter{OwnerID: batch[i].OwnerID, Labels: labels, Limit: 2})
				if err != nil || len(page) != 1 || page[0].ID != batch[i].ID {
					t.Errorf("by its labels: %v, %v", page, err)
				}
			}
		}
	})
}

func TestListsFilterAndPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		owner := job.NewID()
		var subs []job.Submission
		for i := range 9 {
			subs = append(subs, submission(func(s *job.Submission) {
				s.OwnerID = owner
				s.Queue = []string{"default", "low", "critical"}[i%3]
				s.Type = []string{"debug.echo", "debug.sleep"}[i%2]
				s.Labels = map[string]string{"n": fmt.Sprint(i % 2), "all": "yes"}
			}))
		}
		create(t, s, append(subs, submission())...)
		count := func(f job.Filter) int {
			t.Helper()
			f.Limit = 50
			jobs, err := s.Jobs(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			return len(jobs)
		}
		for _, c := range []struct {
			name string
			f    job.Filter
			want int
		}{
			{"everybody's", job.Filter{}, 10},
			{"own", job.Filter{OwnerID: owner}, 9},
			{"queue", job.Filter{OwnerID: owner, Queue: "low"}, 3},
			{"type", job.Filter{OwnerID: owner, Type: "debug.sleep"}, 4},
			{"state", job.Filter{OwnerID: owner, State: job.Completed}, 0},
			{"labels", job.Filter{OwnerID: owner, Labels: map[string]string{"n": "0", "all": "yes"}}, 5},
			{"another's labels", job.Filter{OwnerID: job.NewID(), Labels: map[string]string{"all": "yes"}}, 0},
			{"created after now", job.Filter{CreatedAfter: time.Now().Add(time.Minute)}, 0},
			{"created after a minute ago", job.Filter{CreatedAfter: time.Now().Add(-time.Minute)}, 10},
		} {
			if got := count(c.f); got != c.want {
				t.Errorf("%s: %d jobs, want %d", c.name, got, c.want)
			}
		}
		var seen []job.ID
		for f := (job.Filter{OwnerID: owner, Limit: 4}); ; {
			page, err := s.Jobs(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page {
				if j.Payload != nil {
					t.Error("a list carries payloads")
				}
				seen = append(seen, j.ID)
				f.Before = j.ID
			}
			if len(page) < f.Limit {
				break
			}
		}
		for i, id := range seen {
			if id != subs[len(subs)-1-i].ID {
				t.Fatalf("place %d of the pages has the wrong job", i)
			}
		}
		if len(seen) != 9 {
			t.Errorf("the pages hold %d jobs", len(seen))
		}
	})
}

func TestAMissingJobIsNotFound(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		_, err := s.Job(t.Context(), job.NewID())
		if !errors.Is(err, job.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		s.Close()
		if _, err := s.Job(t.Context(), job.NewID()); err == nil || errors.Is(err, job.ErrNotFound) {
			t.Errorf("a failed look-up answers %v", err)
		}
	})
}

func TestListedJobsHaveFiguresAndNoPayload(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		made := create(t, s, submission(func(s *job.Submission) { s.MaxRetries = 7 }), submission(), submission())
		worker := job.NewID()
		j := mustClaim(t, s, made[0], worker)
		failed := settlement(j, worker, job.Archived)
		failed.Error, failed.Failed = &job.AttemptError{Message: "no"}, true
		settle(t, s, failed)
		list, err := s.ListedJobs(t.Context(), []job.ID{made[0].ID, job.NewID(), made[2].ID})
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		slices.SortFunc(list, func(a, b *job.Job) int { return strings.Compare(a.ID.String(), b.ID.String()) })
		if list[0].ID != made[0].ID || list[1].ID != made[2].ID {
			t.Errorf("listed %s and %s", list[0].ID, list[1].ID)
		}
		if got := list[0]; got.MaxRetries != 7 || got.Failures != 1 || got.State != job.Archived ||
			len(got.Payload) != 0 {
			t.Errorf("a job that failed is listed as %+v", got)
		}
		if none, err := s.ListedJobs(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("of no job: %v, %v", none, err)
		}
	})
}
