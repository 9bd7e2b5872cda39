package store

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"testing"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// tally is an Observer that adds up what it is told.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (t *tally) add(what string, n int) { t.mu.Lock(); defer t.mu.Unlock(); t.seen[what] += n }

func (t *tally) Created(taskType, queue string, n int) { t.add("created "+taskType+" "+queue, n) }
func (t *tally) Reopened(taskType, queue string)       { t.add("reopened "+taskType+" "+queue, 1) }
func (t *tally) Finished(taskType, queue string, state job.State) {
	t.add(fmt.Sprint(state, " ", taskType, " ", queue), 1)
}

func TestEachChangeOfAJobIsToldToTheObserverOnce(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"postgres": testenv.Postgres(t), "sqlite": "sqlite:" +
		filepath.Join(t.TempDir(), "waybill.db")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := &tally{seen: map[string]int{}}
			s := newStore(t, url)
			s.observer = told
			jobs := create(t, s, submission(), submission(func(s *job.Submission) { s.Queue = "low" }))
			var all sync.WaitGroup
			for range 8 { // one of them changes something
				all.Go(func() {
					if _, err := s.Cancel(t.Context(), jobs[0].ID); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for range 2 {
				_, _ = s.Archive(t.Context(), jobs[1].ID, "by hand") // the second changes nothing
			}
			for _, j := range jobs {
				if _, err := s.Retry(t.Context(), j.ID); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]int{
				"created debug.echo default":  1,
				"created debug.echo low":      1,
				"canceled debug.echo default": 1,
				"archived debug.echo low":     1,
				"reopened debug.echo default": 1,
				"reopened debug.echo low":     1,
			}
			if !maps.Equal(told.seen, want) {
				t.Errorf("told %v, want %v", told.seen, want)
			}
		})
	}
}

func TestWhatACommandDidIsToldOnceToAProcessThatIsScraped(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *Store) {
		counts := new(CommandCounts)
		s.observer = counts
		j := create(t, s, submission())[0]
		if _, err := s.Archive(t.Context(), j.ID, "by hand"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Retry(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second has nothing left to write
			if err := counts.Write(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		told := &tally{seen: map[string]int{}}
		for range 2 {
			if err := s.TakeCommandCounts(t.Context(), told); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]int{
			"created debug.echo default":  1,
			"archived debug.echo default": 1,
			"reopened debug.echo default": 1,
		}
		if !maps.Equal(told.seen, want) {
			t.Errorf("told %v, want %v", told.seen, want)
		}
	})
}
