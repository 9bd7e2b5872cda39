package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/testenv"
)

// The ledger's database refuses statements with one SQLSTATE after the other, each for a while and
// under load. Submissions are told to come back, nothing of the statements is shown, and every job
// that was accepted ends as its handler says.
func TestSQLErrorsAreWaitedOutAndEndNoJob(t *testing.T) {
	t.Parallel()
	b, c := tallied(t, "DATABASE_URL="+testenv.Postgres(t), "REDIS_URL="+testenv.Redis(t).URL)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	conn := b.connect()
	for _, statement := range []string{
		"CREATE TABLE fault (state text)", "INSERT INTO fault VALUES (NULL)",
		`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE code text := (SELECT state FROM fault); BEGIN
			IF code IS NOT NULL THEN RAISE EXCEPTION 'secret words' USING ERRCODE = code; END IF; RETURN coalesce(NEW, OLD); END $$`,
		"CREATE TRIGGER fail BEFORE INSERT ON submissions FOR EACH ROW EXECUTE FUNCTION fail()",
		"CREATE TRIGGER fail BEFORE INSERT ON outcomes FOR EACH ROW EXECUTE FUNCTION fail()",
	} {
		execute(t, conn, statement)
	}
	load := b.submitting()
	states := []string{"0A000", "25006", "26000", "42501", "57014", "58030", "P0001", "XX001", "22P05", "23514"}
	for _, state := range states {
		load.sees(t, http.StatusAccepted, "before "+state)
		execute(t, conn, "UPDATE fault SET state = '"+state+"'")
		load.sees(t, http.StatusServiceUnavailable, "under "+state)
		load.sees(t, http.StatusServiceUnavailable, "under "+state)
		execute(t, conn, "UPDATE fault SET state = NULL")
	}
	load.sees(t, http.StatusAccepted, "in the end")
	ids := load.stop(t)
	b.drained(len(ids), 2*time.Minute)
	c.check(t, ids)
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(context.WithoutCancel(t.Context()), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// submitters submit jobs one after the other and hold every answer to what a client may expect.
type submitters struct {
	accepted, refused atomic.Int64
	end               context.CancelFunc
	all               sync.WaitGroup

	mu    sync.Mutex
	ids   []string
	wrong []string
}

func (b *bench) submitting() *submitters {
	ctx, end := context.WithCancel(b.Context())
	s := &submitters{end: end}
	b.Cleanup(func() { end(); s.all.Wait() })
	client := client(b)
	for range 8 {
		s.all.Go(func() {
			for ctx.Err() == nil {
				s.submit(b, client)
				<-time.After(10 * time.Millisecond)
			}
		})
	}
	return s
}

func (s *submitters) submit(b *bench, client *http.Client) {
	req, err := http.NewRequestWithContext(
		b.Context(),
		http.MethodPost,
		"http://"+b.addr+"/v1/jobs",
		strings.NewReader(`{"type":"test.tally","payload":{"n":1}}`),
	)
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+b.admin.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	switch {
	case resp.StatusCode == http.StatusAccepted:
		_, id, _ := strings.Cut(resp.Header.Get("Location"), "/v1/jobs/")
		s.ids = append(s.ids, id)
		s.accepted.Add(1)
	case resp.StatusCode == http.StatusServiceUnavailable && after > 0 &&
		resp.Header.Get("Content-Type") == "application/problem+json" &&
		!strings.Contains(string(text), "secret") && !strings.Contains(string(text), "SQL"):
		s.refused.Add(1)
	default:
		s.wrong = append(
			s.wrong,
			fmt.Sprintf("%s, Retry-After %q: %s", resp.Status, resp.Header.Get("Retry-After"), text),
		)
	}
}

// sees waits until some more were answered with a status.
func (s *submitters) sees(t *testing.T, status int, when string) {
	t.Helper()
	count := &s.accepted
	if status == http.StatusServiceUnavailable {
		count = &s.refused
	}
	before := count.Load()
	testenv.Eventually(
		t,
		time.Minute,
		func() bool { return count.Load() > before+20 },
		"%s, no submission is answered %d",
		when,
		status,
	)
}

func (s *submitters) stop(t *testing.T) []string {
	t.Helper()
	s.end()
	s.all.Wait()
	if len(s.wrong) > 0 {
		t.Errorf("%d answers are wrong, the first: %s", len(s.wrong), s.wrong[0])
	}
	return s.ids
}
