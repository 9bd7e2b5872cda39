package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

func TestFsckTellsDifferencesFromNotKnowing(t *testing.T) {
	t.Parallel()
	environ, db := database(t)
	redis := testenv.Redis(t)
	environ = append(environ, "REDIS_URL="+redis.URL)
	if code, out, errs := ends(t, environ, "", "waybill", "fsck"); code != 0 || out != "no differences\n" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	none := `{"complete":true,"repaired":false,"differences":[]}` + "\n"
	if code, out, errs := ends(t, environ, "", "waybill", "fsck", "--json"); code != 0 || out != none {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}

	id := writeJob(t, strings.TrimPrefix(environ[0], "DATABASE_URL="))
	statement(t, db, "UPDATE open_jobs SET dispatch_at = now() - interval '1 minute'") // so that it is not on its way
	if code, out, errs := ends(t, environ, "", "waybill", "fsck"); code != 1 || !strings.Contains(out, id.String()) ||
		!strings.Contains(errs, "differ") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	code, out, errs := ends(t, environ, "", "waybill", "fsck", "--json", "--repair")
	var report fsckReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || !report.Complete || !report.Repaired ||
		len(report.Differences) != 1 ||
		!strings.HasPrefix(report.Differences[0].TaskID, id.String()) {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, out, errs := ends(t, environ, "", "waybill", "fsck"); code != 0 {
		t.Errorf("repaired: exit code %d: %s%s", code, out, errs)
	}

	redis.Stop()
	if code, out, errs := ends(t, environ, "", "waybill", "fsck", "--json"); code != 2 ||
		!strings.Contains(out, `"complete":false`) {
		t.Errorf("without Redis: exit code %d: %s%s", code, out, errs)
	}
}

// writeJob writes a job to the ledger and tells Redis nothing of it.
func writeJob(t *testing.T, url string) job.ID {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sub := job.Submission{
		ID:      job.NewID(),
		OwnerID: job.NewID(),
		Type:    "debug.echo",
		Queue:   "default",
		Payload: json.RawMessage(`{}`),
		Policy: job.Policy{
			Timeout: 30 * time.Second,
			Backoff: job.Backoff{Kind: job.Exponential, Base: time.Second, Max: time.Minute},
		},
	}
	if _, errs, err := s.Create(t.Context(), []job.Submission{sub}); err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
	return sub.ID
}
