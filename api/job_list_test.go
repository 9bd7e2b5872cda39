package api

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// page reads the ids and the next cursor of a list.
func (a answer) page() (ids []string, next string) {
	a.t.Helper()
	body := a.want(200).json()
	for _, item := range body["data"].([]any) {
		ids = append(ids, item.(map[string]any)["id"].(string))
	}
	next, _ = body["next_cursor"].(string)
	return ids, next
}

func TestPagesFollowEachOtherNewestFirst(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var want []string
	for range 5 {
		want = append([]string{h.submit(alice, echo).String()}, want...)
		h.submit(bob, echo)
	}
	var got []string
	cursor := ""
	for page := 0; page == 0 || cursor != ""; page++ {
		path := fmt.Sprintf("/v1/jobs?limit=%d", 2+page%2) // the size may change on the way
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		ids, next := h.call("GET", path, alice, "").page()
		got, cursor = append(got, ids...), next
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestACursorBelongsToItsCallerAndItsFilters(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.submit(alice, echo)
	h.submit(alice, echo)
	_, cursor := h.call("GET", "/v1/jobs?limit=1&state=pending", alice, "").page()
	if cursor == "" {
		t.Fatal("no cursor")
	}
	at := "&cursor=" + cursor
	h.call("GET", "/v1/jobs?state=pending"+at, alice, "").want(200)
	h.call("GET", "/v1/jobs?state=pending"+at, bob, "").want(400)
	h.call("GET", "/v1/jobs?state=retry"+at, alice, "").want(400)
	h.call("GET", "/v1/jobs?limit=1"+at, alice, "").want(400)
	h.call("GET", "/v1/jobs?state=pending"+at+"A", alice, "").want(400)
	h.call("GET", "/v1/jobs?state=pending&cursor="+cursor[:len(cursor)-1], alice, "").want(400)
}

func TestFiltersPickWhatFitsAllOfThem(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, with(`"queue":"low","labels":{"customer":"4711","a/b":"c d"}`)).String()
	h.submit(alice, with(`"labels":{"customer":"4712"}`))
	h.submit(alice, with(`"delay":"1h","queue":"low"`))
	for query, want := range map[string]int{
		"": 3, "queue=low": 2, "queue=low&state=pending": 1, "type=debug.echo": 3, "type=gone.type": 0,
		"label.customer=4711":                 1,
		"label.customer=4711&label.a/b=c%20d": 1, "label.customer=4711&label.x=1": 0, "state=scheduled": 1,
		"created_after=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339)): 0,
		"created_after=2020-01-01T00:00:00Z":                                               3,
	} {
		ids, _ := h.call("GET", "/v1/jobs?"+query, alice, "").page()
		if len(ids) != want || want == 1 && query != "state=scheduled" && ids[0] != id {
			t.Errorf("%s: %v", query, ids)
		}
	}
}

func TestEverybodysJobsAreForViewers(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.submit(alice, echo)
	h.submit(bob, echo)
	for token, want := range map[string]int{viewer: 2, operator: 2, admin: 2} {
		if ids, _ := h.call("GET", "/v1/jobs?owner=all", token, "").page(); len(ids) != want {
			t.Errorf("%s: %v", token, ids)
		}
		if ids, _ := h.call("GET", "/v1/jobs", token, "").page(); len(ids) != 0 {
			t.Errorf("%s's own: %v", token, ids)
		}
		path := "/v1/jobs?owner=" + h.auth.principals[alice].UserID.String()
		if ids, _ := h.call("GET", path, token, "").page(); len(ids) != 1 {
			t.Errorf("%s: alice's: %v", token, ids)
		}
		h.call("GET", path, bob, "").want(400)
	}
}

func TestAListIsShownWithoutPayloads(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	id := h.submit(alice, echo)
	h.ledger.set(id, func(j *job.Job) {
		j.State, j.Progress, j.Worker = job.Retry, &job.Progress{Percent: 12.5, Message: "half\nway"}, "w1"
		j.Errors = []job.AttemptError{
			{Attempt: 1, At: time.Now(), Message: "no <b>\x7f", Retryable: true, Stack: "goroutine 1"},
		}
	})
	item := h.call("GET", "/v1/jobs", alice, "").want(200).json()["data"].([]any)[0].(map[string]any)
	for _, name := range []string{"payload", "result", "errors"} {
		if _, ok := item[name]; ok {
			t.Errorf("the list shows %s", name)
		}
	}
	whole := h.call("GET", "/v1/jobs/"+id.String(), alice, "").want(200).json()
	if fmt.Sprint(whole["progress"]) != "map[message:half\nway percent:12.5]" || whole["next_run_at"] == nil {
		t.Errorf("%v", whole)
	}
	if e := whole["errors"].([]any)[0].(map[string]any); len(e) != 4 || e["message"] != "no <b>\x7f" {
		t.Errorf("%v", e)
	}
}
