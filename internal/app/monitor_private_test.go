package app_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
)

// page is an answer of the monitor's API as it stands.
func (t *tab) page(path string) string {
	t.b.Helper()
	res, err := t.http.Get("http://" + t.b.addr + "/monitor/api/" + path)
	if err != nil {
		t.b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.b.Fatalf("%s: %d %s %v", path, res.StatusCode, text, err)
	}
	return string(text)
}

func TestAViewerSeesNoSecretsOfOthers(t *testing.T) {
	t.Parallel()
	b := newIdleBench(
		t,
		"DATABASE_URL="+testenv.Postgres(t),
		"REDIS_URL="+testenv.Redis(t).URL,
		"WAYBILL_HTTP_ALLOW=127.0.0.0/8",
	)
	b.startAPI(app.Options{API: app.ServeAPI, Worker: true})
	viewer, operator := b.join("viewer", "viewer"), b.join("operator", "operator")
	id := b.submit(
		`{"type":"http.request","payload":{"url":"http://127.0.0.1:9/hook?TOPSECRET","headers":{"Authorization":"Bearer TOPSECRET"}},` +
			`"backoff":{"kind":"fixed","base":"1h","max":"1h"}}`,
	)
	b.becomes(id, job.Retry)
	for _, who := range []struct {
		person *person
		sees   bool
	}{{b.admin, true}, {operator, true}, {viewer, false}} {
		text := b.ask(ask{path: "/v1/jobs/" + id, as: b.token(who.person)}).want(b, 200).body
		if strings.Contains(text, "TOPSECRET") != who.sees || strings.Contains(text, "127.0.0.1:9") != who.sees ||
			strings.Contains(text, `"hidden":true`) == who.sees {
			t.Errorf("%s gets %s", who.person.Email, text)
		}
	}
	signedIn := b.browser(viewer)
	testenv.EventuallyNoError(t, 30*time.Second, func() error {
		text := signedIn.page("queues/default/retry_tasks")
		if !strings.Contains(text, id) || !strings.Contains(text, "hidden: ") || strings.Contains(text, "TOPSECRET") ||
			strings.Contains(text, "127.0.0.1:9") {
			return fmt.Errorf("%s", text)
		}
		return nil
	}, "the monitor does not show the task without its error")
	for _, who := range []*person{viewer, operator} {
		if text := b.browser(who).page("redis_info"); !strings.Contains(text, "redis_version") ||
			strings.Contains(text, "config_file") ||
			strings.Contains(text, "executable") {
			t.Errorf("%s sees of redis %s", who.Email, text)
		}
	}
}
