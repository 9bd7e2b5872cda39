package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

func TestJobsThatSubmitJobsAreCountedAndEnd(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for n := range job.MaxHops {
		made := h.call("POST", "/v1/jobs", alice, `{"type":"debug.echo","payload":{},"labels":{"a":"b"}}`,
			"Waybill-Hops", fmt.Sprint(n+1)).
			want(202).
			json()
		labels, _ := made["labels"].(map[string]any)
		if labels[job.HopsLabel] != fmt.Sprint(n+1) || labels["a"] != "b" {
			t.Errorf("after %d hops the labels are %v", n+1, labels)
		}
	}
	one := `{"type":"debug.echo","payload":{}}`
	for _, value := range []string{fmt.Sprint(job.MaxHops + 1), "-1", "x", "99999999999999999999", "1, 1"} {
		h.call("POST", "/v1/jobs", alice, one, "Waybill-Hops", value).want(403)
		h.call("POST", "/v1/jobs/batch", alice, `[`+one+`]`, "Waybill-Hops", value).want(403)
	}
	if made := h.call("POST", "/v1/jobs", alice, one).want(202).json(); strings.Contains(
		fmt.Sprint(made["labels"]),
		job.HopsLabel,
	) {
		t.Errorf("a person's job has the labels %v", made["labels"])
	}
	h.call("POST", "/v1/jobs", alice, `{"type":"debug.echo","payload":{},"labels":{"waybill/hops":"0"}}`).want(422)
}

func TestAJobsRequestDoesNotRunJobsAgain(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	made := h.call("POST", "/v1/jobs", alice, `{"type":"debug.echo","payload":{}}`).want(202).json()
	for _, path := range []string{fmt.Sprint("/v1/jobs/", made["id"], "/retry"),
		fmt.Sprint("/v1/schedules/", made["id"], "/trigger"),
		fmt.Sprint("/v1/schedules/", made["id"], "/backfill")} {
		h.call("POST", path, alice, `{}`, "Waybill-Hops", "1").want(403)
	}
}

func TestUsersSeeTheSecretsThatSignTheirJobs(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) {
		h.webhookSecrets = func(owner job.ID) ([]string,
			error) {
			return []string{"whsec_new" + owner.String(), "whsec_old"}, nil
		}
	})
	owner := h.auth.principals[alice].UserID.String()
	shown := h.call("GET", "/v1/me/webhook-secret", alice, "").want(200)
	if got := shown.json(); got["owner_id"] != owner || fmt.Sprint(got["secrets"]) != "[whsec_new"+owner+" whsec_old]" {
		t.Errorf("alice sees %v", got)
	}
	if shown.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer may be kept: %v", shown.header)
	}
	if e := h.audit.entries; len(e) != 1 || e[0].Action != "webhook_secret.read" || e[0].Target != owner ||
		strings.Contains(fmt.Sprint(e), "whsec_") {
		t.Errorf("recorded: %+v", e)
	}
	h.call("GET", "/v1/me/webhook-secret", "", "").want(401)
	newAPITest(t).call("GET", "/v1/me/webhook-secret", alice, "").want(404)
}
