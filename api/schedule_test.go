package api

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/schedule"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
)

// newScheduleTest is an API over real schedules in a ledger of their own.
func newScheduleTest(t *testing.T, changes ...func(*apiTest)) *apiTest {
	t.Helper()
	s, err := store.Open(
		t.Context(),
		store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "waybill.db"), Log: testenv.Logger(t)},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newAPITest(t, append(changes, func(h *apiTest) {
		catalogue := testCatalogue(t)
		fits := func(s job.Submission) error {
			if known, ok := catalogue.Lookup(s.Type); ok {
				return known.Check(s.Payload)
			}
			return job.Invalid("/type", "unknown")
		}
		service, err := schedule.New(schedule.Config{MinInterval: 10 * time.Second},
			schedule.Deps{Ledger: s, Dispatcher: h.dispatcher, Fits: fits, Log: testenv.Logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		h.schedules, h.scheduleLedger = service, s
	})...)
}

const nightly = `{"name":"nightly","cron":"0 2 * * *","timezone":"Europe/Berlin","overlap":"skip","job":{"type":"debug.echo","payload":{"b":1.0, "a":"{{planned_at}}"}}}`

// schedule makes one and returns its path.
func (h *apiTest) schedule(token, body string) string {
	h.t.Helper()
	return h.call("POST", "/v1/schedules", token, body).want(201).header.Get("Location")
}

func TestAScheduleIsMadeReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	a := h.call("POST", "/v1/schedules", alice, nightly).want(201)
	made, path := a.json(), a.header.Get("Location")
	if made["missed"] != "latest" || made["missed_window"] != "24h" || made["overlap"] != "skip" ||
		made["jitter"] != "0s" ||
		made["every"] != nil ||
		made["next_at"] == nil {
		t.Errorf("%v", made)
	}
	if !strings.Contains(a.body, `"payload":{"b":1.0, "a":"{{planned_at}}"}`) {
		t.Errorf("the payload was altered: %s", a.body)
	}
	if got := h.call("GET", path, alice, "").want(200); got.body != a.body {
		t.Errorf("read: %s\nmade: %s", got.body, a.body)
	}
	h.call("POST", "/v1/schedules", alice, nightly).want(409)
	h.call("POST", "/v1/schedules", bob, nightly).want(201)

	finer := h.call("POST", "/v1/schedules", alice,
		`{"name":"finer","cron":"@daily","jitter":"1.0005s","missed_window":"2.0009s","job":{"type":"debug.echo","payload":{}}}`).
		want(201)
	if got := h.call("GET", finer.header.Get("Location"), alice, "").want(200); got.body != finer.body ||
		got.json()["jitter"] != "1s" {
		t.Errorf("kept to the millisecond, but told otherwise\nread: %s\nmade: %s", got.body, finer.body)
	}
	h.call("DELETE", finer.header.Get("Location"), alice, "").want(204)

	changed := h.call("PATCH", path, alice,
		`{"every":"90m","start_at":"2030-01-01T00:00:00.7Z","end_at":"2031-01-01T00:00:00Z","missed":"all"}`).
		want(200).
		json()
	if changed["cron"] != nil || changed["every"] != "1h30m" || changed["next_at"] != "2030-01-01T00:00:00Z" ||
		changed["missed"] != "all" ||
		changed["overlap"] != "skip" {
		t.Errorf("%v", changed)
	}
	changed = h.call("PATCH", path, alice,
		`{"start_at":null,"end_at":null,"cron":"@daily","job":{"type":"http.request","payload":{"url":"https://example.com/{{planned_date}}"}}}`).
		want(200).
		json()
	if changed["start_at"] != nil || changed["end_at"] != nil || changed["every"] != nil ||
		changed["job"].(map[string]any)["type"] != "http.request" {
		t.Errorf("%v", changed)
	}
	h.call("DELETE", path, alice, "").want(204)
	h.call("GET", path, alice, "").want(404)
	h.call("POST", "/v1/schedules", alice, nightly).want(201)

	var actions []string
	for _, e := range h.audit.entries {
		actions = append(actions, e.Action)
	}
	if want := []string{"schedule.create", "schedule.create", "schedule.create", "schedule.delete", "schedule.change",
		"schedule.change", "schedule.delete", "schedule.create"}; !slices.Equal(
		actions,
		want,
	) {
		t.Errorf("audited: %v", actions)
	}
}

func TestASchedulesMistakesAreNamedTogether(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	const rest = `,"name":"x","job":{"type":"debug.echo","payload":{}}}`
	for body, want := range map[string][]string{
		`{}`:                             {"/cron", "/job", "/name"},
		`{"cron":"* * * * * * *"` + rest: {"/cron"},
		`{"cron":"0 0 31 2 *"` + rest:    {"/cron"},
		`{"cron":"@every -1m"` + rest:    {"/cron"},
		`{"cron":"` + strings.Repeat("1,", 512) + `1 * * * *"` + rest: {"/cron"},
		`{"cron":"*/5 * * * * *"` + rest:                              {"/cron"},
		// above the rate that this deployment allows
		`{"every":"-1m"` + rest:                                {"/every"},
		`{"every":"5s"` + rest:                                 {"/every"},
		`{"every":"1500ms"` + rest:                             {"/every"},
		`{"cron":"@daily","every":"1h"` + rest:                 {"/every"},
		`{"cron":"@daily","timezone":"Europe/Atlantis"` + rest: {"/timezone"},
		`{"cron":"@daily","start_at":"2030-01-02T00:00:00Z","end_at":"2030-01-01T00:00:00Z"` +
			rest: {"/end_at"},
		`{"cron":"@daily","end_at":"2020-01-01T00:00:00Z"` +
			rest: {"/end_at"},
		`{"cron":"@daily","missed":"some","overlap":"never","jitter":"48h"` +
			rest: {"/jitter", "/missed", "/overlap"},
		`{"cron":"nonsense","timezone":"UTC","name":"<x>","job":{"type":"http.request","payload":{"url":1}}}`:                {"/cron", "/job/payload/url", "/name"},
		`{"cron":"@daily","name":"x","job":{"type":"debug.echo","payload":{},"run_at":"2030-01-01T00:00:00Z","delay":"1s"}}`: {"/job/delay", "/job/run_at"},
		`{"cron":"@daily","timezone":"localtime","name":"x ","jitter":"-1s","job":{"type":"debug.echo","payload":{}}}`:       {"/jitter", "/name", "/timezone"},
		`{"cron":"@daily","name":"名前","job":{"type":"debug.echo","payload":{}}}`:                                             {"/name"},
		`{"cron":"@hourly","jitter":"61m"` +
			rest: {"/jitter"},
		`{"cron":"@daily","name":"x","job":{"type":"nothing","payload":{}}}`:                                      {"/job/type"},
		`{"cron":"@daily","name":"x","job":{"type":"debug.echo","payload":{},"labels":{"waybill/schedule":"y"}}}`: {"/job/labels"},
		`{"cron":"@daily","name":"x","color":"red","job":{"type":"debug.echo","payload":{}}}`:                     {"/color"},
	} {
		a := h.call("POST", "/v1/schedules", alice, body).want(422)
		if got := a.pointers(); !slices.Equal(got, want) {
			t.Errorf("%.100s: %v, want %v: %s", body, got, want, a.body)
		}
	}
	path := h.schedule(alice, nightly)
	for body, want := range map[string]string{`{"cron":"61 * * * *"}`: "/cron", `{"every":"1s"}`: "/every",
		`{"job":{"type":"http.request","payload":{}}}`: "/job/payload/url"} {
		if got := h.call("PATCH", path, alice, body).want(422).pointers(); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestASchedulePausesResumesAndIsTriggered(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	path := h.schedule(alice, nightly)
	paused := h.call("POST", path+"/pause", alice, `{"reason":"broken"}`).want(200).json()
	if paused["next_at"] != nil || paused["pause_reason"] != "broken" || paused["paused_by"] != "alice@example.com" {
		t.Errorf("%v", paused)
	}
	h.call("POST", path+"/pause", alice, "", "Content-Type", "").want(200)
	tick := h.call("POST", path+"/trigger", alice, "").want(202)
	if got := tick.json(); got["outcome"] != "triggered" ||
		tick.header.Get("Location") != "/v1/jobs/"+got["job_id"].(string) ||
		len(h.dispatcher.sent) != 1 {
		t.Errorf("%v", got)
	}
	if back := h.call("POST", path+"/resume", alice, "").want(200).json(); back["next_at"] == nil ||
		back["paused_at"] != nil {
		t.Errorf("%v", back)
	}
	page := h.call("GET", path+"/ticks?outcome=triggered&limit=1", alice, "").want(200).json()
	if len(page["data"].([]any)) != 1 || page["next_cursor"] != nil {
		t.Fatalf("%v", page)
	}
	h.call("POST", path+"/trigger", alice, "").want(202)
	first := h.call("GET", path+"/ticks?limit=1", alice, "").want(200).json()
	second := h.call("GET", path+"/ticks?limit=1&cursor="+first["next_cursor"].(string), alice, "").want(200).json()
	if fmt.Sprint(second["data"]) != fmt.Sprint(page["data"]) {
		t.Errorf("second page %v, want %v", second["data"], page["data"])
	}
	h.call("GET", path+"/ticks?outcome=never", alice, "").want(400)
	h.call("GET", path+"/ticks?from=yesterday", alice, "").want(400)
}

func TestATriggerIsRepeatedSafelyWithItsIdempotencyKey(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	path := h.schedule(alice, nightly)
	first := h.call("POST", path+"/trigger", alice, "", "Idempotency-Key", "k").want(202)
	again := h.call("POST", path+"/trigger", alice, "{}", "Idempotency-Key", "k").want(202)
	if again.body != first.body || again.header.Get("Location") != first.header.Get("Location") ||
		first.header.Get("Idempotency-Replayed") != "" ||
		again.header.Get("Idempotency-Replayed") != "true" ||
		len(h.dispatcher.sent) != 1 {
		t.Errorf("%d jobs\n%s%v\n%s%v", len(h.dispatcher.sent), first.body, first.header, again.body, again.header)
	}
	for _, other := range []answer{
		h.call("POST", path+"/trigger", operator, "", "Idempotency-Key", "k"),
		// keys are their user's
		h.call("POST", path+"/trigger", alice, "", "Idempotency-Key", strings.Repeat("k", 255)), // as long as they get
		h.call("POST", h.schedule(bob, nightly)+"/trigger", bob, "", "Idempotency-Key", "k"),
	} {
		if other.want(202).body == first.body || other.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s%v", other.body, other.header)
		}
	}
	for _, key := range []string{"with space", strings.Repeat("k", 256), "\x7f"} {
		h.call("POST", path+"/trigger", alice, "", "Idempotency-Key", key).want(400)
	}
	if got := h.call("POST", path+"/trigger", alice, `{"payload":{}}`).want(422).pointers(); !slices.Equal(
		got,
		[]string{"/payload"},
	) {
		t.Errorf("a payload of its own: %v", got)
	}
	triggers := 0
	for _, e := range h.audit.entries {
		if e.Action == "schedule.trigger" {
			triggers++
		}
	}
	if triggers != 4 || len(h.dispatcher.sent) != 4 {
		t.Errorf("%d audited, %d sent", triggers, len(h.dispatcher.sent))
	}
}

func TestTriggersAndBackfillsPassTheQuotaOfTheOwner(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t, withQuota(1000, 0))
	path := h.schedule(
		alice,
		`{"name":"often","every":"10s","start_at":"2026-01-01T00:00:00Z","job":{"type":"debug.echo","payload":{}}}`,
	)
	backfill := func(from, to int, dry bool) answer { // in units of a thousand jobs
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		at := func(n int) string { return begin.Add(time.Duration(n) * 10_000 * time.Second).Format(time.RFC3339) }
		return h.call(
			"POST",
			path+"/backfill",
			operator,
			fmt.Sprintf(`{"from":%q,"to":%q,"spacing":"0s","dry_run":%v}`, at(from), at(to), dry),
		)
	}
	if a := backfill(0, 9, false).want(202); !strings.HasPrefix(a.header.Get("RateLimit"), `"submissions";r=1000;`) {
		t.Errorf("RateLimit: %s", a.header.Get("RateLimit"))
	}
	if a := backfill(9, 12, false).want(429); a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After: %s", a.header.Get("Retry-After"))
	}
	backfill(0, 9, false).want(202) // makes nothing
	backfill(9, 12, true).want(200)
	backfill(9, 10, false).want(202)
	h.call("POST", path+"/trigger", alice, "").want(429)
	h.call("POST", "/v1/jobs", alice, echo).want(429) // it is one quota
	h.call("POST", "/v1/jobs", operator, echo).want(202)
	h.clock.add(time.Second)
	h.call("POST", path+"/trigger", alice, "").want(202)
}

func TestPlannedTimesArePreviewedAlsoOfASchedulesThatIsNotMade(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	body := `{"cron":"30 2 * * *","timezone":"Europe/Berlin","after":"2026-03-28T12:00:00Z","count":2}`
	want := `{"data":[{"planned_at":"2026-03-29T01:00:00Z","local":"2026-03-29T03:00:00+02:00"},{"planned_at":"2026-03-30T00:30:00Z","local":"2026-03-30T02:30:00+02:00"}]}` + "\n"
	if got := h.call("POST", "/v1/schedules/preview", alice, body).want(200).body; got != want {
		t.Errorf("got %s", got)
	}
	path := h.schedule(alice, strings.Replace(nightly, "0 2", "30 2", 1))
	if got := h.call("GET", path+"/preview?count=2&after="+url.QueryEscape("2026-03-28T13:00:00+01:00"), alice,
		"").want(200).body; got != want {
		t.Errorf("got %s", got)
	}
	if got := h.call("POST", "/v1/schedules/preview", alice,
		`{"cron":"0 0 30 2 *"}`).want(422).pointers(); !slices.Equal(
		got,
		[]string{"/cron"},
	) {
		t.Error(got)
	}
	for _, wrong := range []string{"count=0", "count=101", "count=1e9", "after=9999-12-31T23:59:59Z",
		"after=yesterday"} {
		h.call("GET", path+"/preview?"+wrong, alice, "").want(400)
	}
}

func TestABackfillIsDryUnlessItSaysOtherwise(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	path := h.schedule(alice, `{"name":"hourly","cron":"@hourly","job":{"type":"debug.echo","payload":{}}}`)
	const span = `"from":"2026-01-01T00:00:00Z","to":"2026-01-02T00:00:00Z"`
	if dry := h.call("POST", path+"/backfill", alice, `{`+span+`}`).want(200).json(); dry["dry_run"] != true ||
		dry["jobs"] != 24.0 ||
		len(h.dispatcher.sent) != 0 {
		t.Errorf("%v", dry)
	}
	if done := h.call("POST", path+"/backfill", alice, `{`+span+
		`,"dry_run":false,"spacing":"1m"}`).want(202).json(); done["jobs"] != 24.0 ||
		len(h.dispatcher.sent) != 24 {
		t.Errorf("%v", done)
	}
	if again := h.call("POST", path+"/backfill", alice, `{`+span+
		`,"dry_run":false}`).want(202).json(); again["jobs"] != 0.0 ||
		again["present"] != 24.0 {
		t.Errorf("%v", again)
	}
	for body, want := range map[string][]string{`{}`: {"/from", "/to"},
		`{"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:00:00Z"}`: {"/to"},
		`{"from":"2026-01-01T00:00:00Z","to":"2029-01-01T00:00:00Z"}`: {"/to"}} {
		if got := h.call("POST", path+"/backfill", alice, body).want(422).pointers(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestSchedulesOfOthersAreNotFoundButOperatorsActOnAll(t *testing.T) {
	t.Parallel()
	h := newScheduleTest(t)
	path := h.schedule(alice, nightly)
	for _, action := range []struct{ method, path, body string }{{"GET", "", ""}, {"PATCH", "", "{}"}, {"DELETE", "", ""},
		{"POST", "/pause", "{}"},
		{"POST", "/resume", ""}, {"POST", "/trigger", ""}, {"POST", "/backfill", "{}"}, {"GET", "/preview", ""},
		{"GET", "/ticks", ""}} {
		h.call(action.method, path+action.path, bob, action.body).want(404)
		if action.method != "GET" {
			h.call(action.method, path+action.path, viewer, action.body).want(403)
			h.call(action.method, path+action.path, readKey, action.body).want(403)
		} else {
			h.call(action.method, path+action.path, viewer, action.body).want(200)
		}
	}
	h.call("GET", "/v1/schedules/"+job.NewID().String(), alice, "").want(404)
	h.call("GET", "/v1/schedules/none", alice, "").want(404)
	h.call("POST", path+"/pause", operator, `{"reason":"too much"}`).want(200)
	h.call("GET", "/v1/schedules?owner=all", bob, "").want(403)
	if list := h.call("GET", "/v1/schedules?owner=all", operator, "").want(200).json(); len(list["data"].([]any)) != 1 {
		t.Errorf("%v", list)
	}
	if list := h.call("GET", "/v1/schedules", operator, "").want(200).json(); len(list["data"].([]any)) != 0 {
		t.Errorf("%v", list)
	}
	if list := h.call("GET", "/v1/schedules?name=nightly&limit=1", alice, "").want(200).json(); len(
		list["data"].([]any),
	) != 1 ||
		list["next_cursor"] != nil {
		t.Errorf("%v", list)
	}
}
