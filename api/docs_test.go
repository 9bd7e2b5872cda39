package api

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

func TestTheDocsNeedNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	h := newAPITest(t, func(h *apiTest) { h.cfg.PublicURL = "https://waybill.example.com/" })
	a := h.call("GET", "/docs", "", "").want(200)
	for _, never := range []string{"<script", "src=", "@import", "url(", "<link", "ZgotmplZ"} {
		if strings.Contains(a.body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	if !strings.Contains(a.body, "curl -X POST https://waybill.example.com/v1/jobs") ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "style-src 'sha256-") {
		t.Errorf("headers %v", a.header)
	}
}

func TestEveryLinkInTheDocsLeadsSomewhere(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	body := h.call("GET", "/docs", "", "").want(200).body
	links := regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(links) < 50 {
		t.Errorf("%d links", len(links))
	}
	for _, l := range links {
		if strings.Count(body, `id="`+l[1]+`"`) != 1 {
			t.Errorf("#%s leads nowhere, or to several places", l[1])
		}
	}
}

func TestEveryProblemIsExplainedWhereItPoints(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	body := h.call("GET", "/docs", "", "").want(200).body
	for _, code := range []job.Code{job.CodeInvalid, job.CodeMalformed, job.CodeUnauthenticated, job.CodeForbidden,
		job.CodeNotFound,
		job.CodeConflict, job.CodeKeyReused, job.CodeTooMany, job.CodeUnavailable, codeInternal, codeMediaType,
		codeTooLarge, codeMethod,
		codeURITooLong, codeHeadersTooLarge, codeTimeout} {
		anchor := "problem-" + strings.ReplaceAll(string(code), "_", "-")
		if !strings.Contains(body, `id="`+anchor+`"`) {
			t.Errorf("%s is not explained", code)
		}
	}
	if p := h.call("GET", "/nothing", "", "").want(404).problem(); p.Type != "/docs#problem-not-found" {
		t.Errorf("%+v", p)
	}
}

func TestTheDocsAreAskedForAgainOnlyWhenChanged(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/docs", "/openapi.yaml"} {
		tag := h.call("GET", path, "", "").want(200).header.Get("ETag")
		h.call("GET", path, "", "", "If-None-Match", tag).want(304)
		h.call("GET", path, "", "", "If-None-Match", `"other"`).want(200)
	}
}

func TestTaskTypesSayWhatCanBeSubmitted(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	data := h.call("GET", "/v1/task-types", bareKey, "").want(200).json()["data"].([]any)
	if len(data) != 2 {
		t.Fatalf("%v", data)
	}
	for _, item := range data {
		one := item.(map[string]any)
		whole := h.call("GET", "/v1/task-types/"+one["type"].(string), alice, "").want(200).json()
		example, _ := json.Marshal(whole["example"])
		h.call("POST", "/v1/jobs", alice, `{"type":"`+one["type"].(string)+`","payload":`+string(example)+`}`).want(202)
	}
	h.call("GET", "/v1/task-types/debug", alice, "").want(404)
	h.call("GET", "/v1/task-types/%00", alice, "").want(404)
}
