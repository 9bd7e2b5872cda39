package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const secretPayload = `{"url":"https://example.com","secret":"whsec_TOPSECRET","headers":{"Authorization":"Bearer TOPSECRET"}}`

// privateCatalogue has a private type beside an open one.
func privateCatalogue(t *testing.T) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.New(
		tasks.Definition[echoPayload, any]{Name: "debug.echo", Description: "Open.", Example: echoPayload{}},
		tasks.Definition[echoPayload, any]{
			Name:        "test.private",
			Description: "Private.",
			Example:     echoPayload{},
			Private:     true,
		},
	)
	must(t, err)
	return c
}

func TestPrivateJobsAreShownToTheirOwnerAndOperatorsOnly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	v := viewing{privateCatalogue(t)}
	owner := h.auth.principals[alice]
	j := &job.Job{
		ID:      job.NewID(),
		OwnerID: owner.UserID,
		Type:    "test.private",
		State:   job.Archived,
		Payload: []byte(secretPayload),
		Result:  []byte(`"TOPSECRET"`),
		Errors: []job.AttemptError{
			{Attempt: 1, Message: "refused TOPSECRET"},
		},
		Progress: &job.Progress{Percent: 50, Message: "sending TOPSECRET"},
	}
	s := &job.Schedule{
		ID:      job.NewID(),
		OwnerID: owner.UserID,
		Job:     job.Submission{Type: "test.private", Payload: []byte(secretPayload)},
	}
	for name, sees := range map[string]bool{alice: true, bob: false, viewer: false, operator: true, admin: true} {
		p := h.auth.principals[name]
		for what, body := range map[string]appender{"job": v.job(p, j), "list": jobPage{jobs: v.jobs(p, []*job.Job{j})},
			"schedule": v.schedule(p, s)} {
			text := body.appendJSON(nil)
			if !json.Valid(text) || strings.Contains(string(text), "TOPSECRET") != sees {
				t.Errorf("%s sees of the %s: %s", name, what, text)
			}
			if what != "list" && strings.Contains(string(text), `"hidden":true`) == sees {
				t.Errorf("%s is not told that something of the %s is hidden: %s", name, what, text)
			}
		}
	}
	if string(j.Payload) != secretPayload || j.Errors[0].Message != "refused TOPSECRET" ||
		j.Progress.Message != "sending TOPSECRET" {
		t.Errorf("the job itself was changed: %+v", j)
	}
	j.Type = "gone.type" // what is not known may be private
	if text := v.job(h.auth.principals[viewer], j).appendJSON(nil); strings.Contains(string(text), "TOPSECRET") {
		t.Errorf("a viewer sees %s", text)
	}
	j.Type = "debug.echo"
	if text := v.job(h.auth.principals[viewer], j).appendJSON(nil); !strings.Contains(string(text), "TOPSECRET") {
		t.Errorf("a viewer does not see %s", text)
	}
}

func TestTheMonitorShowsViewersNothingPrivate(t *testing.T) {
	t.Parallel()
	m := &monitor{viewing: viewing{privateCatalogue(t)}}
	const page = `{"tasks":[
		{"id":"1","type":"test.private","payload":"P1","error_message":"E1","result":"R1","timeout_seconds":12345678901234567890},
		{"id":"2","type":"debug.echo","payload":"P2","error_message":"E2","result":""}],
		"servers":[{"active_workers":[{"task_type":"test.private","task_payload":"P3"}]}]}`
	got, err := m.correct(t.Context(), monitorAPI+"/queues/default/retry_tasks", []byte(page), true)
	must(t, err)
	for text, shown := range map[string]bool{`"P1"`: false, `"E1"`: false, `"R1"`: false, `"P3"`: false, `"P2"`: true,
		`"E2"`: true, "12345678901234567890": true, `"id":"1"`: true} {
		if strings.Contains(string(got), text) != shown {
			t.Errorf("%s is shown: %v, in %s", text, !shown, got)
		}
	}
	if got, err = m.correct(t.Context(), monitorAPI+"/queues/default/retry_tasks", []byte(page), false); err != nil ||
		!strings.Contains(string(got), `"P1"`) ||
		!strings.Contains(string(got), "12345678901234567890") {
		t.Errorf("an operator's page was changed: %s, %v", got, err)
	}

	const info = `{"address":"r:6379","info":{"redis_version":"7","config_file":"/etc/redis/redis.conf","executable":"/usr/bin/redis-server"},` +
		`"raw_info":"# Server\r\nredis_version:7\r\nconfig_file:/etc/redis/redis.conf\r\nexecutable:/usr/bin/redis-server\r\n","cluster":false}`
	for _, viewer := range []bool{true, false} {
		got, err := m.correct(t.Context(), monitorAPI+"/redis_info", []byte(info), viewer)
		must(t, err)
		if strings.Contains(string(got), "/etc/redis") || strings.Contains(string(got), "redis-server") ||
			!strings.Contains(string(got), `redis_version:7\r\n`) {
			t.Errorf("Redis's page shows %s", got)
		}
	}
}
