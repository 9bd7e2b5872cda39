package api

import (
	"errors"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

func TestQueuesShowWhatTheLedgerAndRedisKnow(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	now := time.Now()
	h.queues.figures = QueueFigures{At: now,
		Open: []job.QueueCounts{
			{
				Queue:     "default",
				Open:      map[job.State]int{job.Pending: 3, job.Retry: 2, job.Held: 1},
				OldestDue: 90 * time.Second,
				Cut:       true,
			},
			{Queue: "gone"},
		},
		Archived: map[string]int{"default": 4},
		Workers: []job.Worker{
			{Queues: []string{"default", "low"}, Slots: 64, BeatAt: now},
			{Queues: []string{"default"}, Slots: 8, BeatAt: now.Add(-time.Second)},
			{
				Queues: []string{"default"},
				Slots:  8,
				BeatAt: now.Add(-time.Minute),
			},
			{Queues: []string{"default"}, Slots: 8, BeatAt: now, Stopping: true},
		},
		Redis: map[string]RedisQueue{"default": {Pending: 3, Archived: 5}},
	}
	a := h.call("GET", "/v1/queues", viewer, "").want(200)
	data := a.json()["data"].([]any)
	if len(data) != 3 {
		t.Fatal(a.body)
	}
	q := data[1].(map[string]any)
	for name, want := range map[string]any{"name": "default", "paused": false, "pending": 3.0, "retry": 2.0,
		"held": 1.0, "active": 0.0, "archived": 4.0, "at_least": true,
		"oldest_pending_seconds": 90.0, "workers": 2.0, "slots": 72.0} {
		if q[name] != want {
			t.Errorf("%s is %v, want %v", name, q[name], want)
		}
	}
	if r := q["redis"].(map[string]any); r["pending"] != 3.0 || r["archived"] != 5.0 {
		t.Errorf("redis: %v", r)
	}
	if c := data[0].(map[string]any); c["name"] != "critical" || c["redis"] != nil ||
		c["oldest_pending_seconds"] != nil {
		t.Errorf("%v", c)
	}
}

func TestAPauseHasAReasonAndANameToIt(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	q := h.call("POST", "/v1/queues/low/pause", operator, `{"reason":"mail is down"}`).want(200).json()
	if q["paused"] != true || q["paused_by"] != "operator@example.com" || q["pause_reason"] != "mail is down" ||
		q["paused_at"] == nil {
		t.Errorf("%v", q)
	}
	again := h.call("POST", "/v1/queues/low/pause", admin, `{"reason":"another"}`).want(200).json()
	if again["paused_by"] != "operator@example.com" {
		t.Errorf("the first pause is gone: %v", again)
	}
	if q = h.call("POST", "/v1/queues/low/resume", operator, "").want(200).json(); q["paused"] != false ||
		q["paused_by"] != nil {
		t.Errorf("%v", q)
	}
	h.call("POST", "/v1/queues/low/resume", operator, "").want(200)
	var actions []string
	for _, e := range h.audit.entries {
		actions = append(actions, e.Action+" "+e.Target+" "+e.Detail["reason"])
	}
	if len(actions) != 4 || actions[0] != "queue.pause low mail is down" || actions[2] != "queue.resume low " {
		t.Errorf("%q", actions)
	}
}

func TestWhoMaySeeAndPauseQueues(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.auth.principals["wb_queues"] = &account.Principal{
		UserID: job.NewID(),
		Role:   account.RoleAdmin,
		KeyID:  job.NewID(),
		Scopes: []account.Scope{account.ScopeQueuesRead},
	}
	h.call("GET", "/v1/queues", alice, "").want(403)
	h.call("GET", "/v1/queues", "wb_queues", "").want(200)
	const reason = `{"reason":"x"}`
	h.call("POST", "/v1/queues/low/pause", viewer, reason).want(403)
	h.call("POST", "/v1/queues/low/pause", "wb_queues", reason).want(403)
	for body, want := range map[string]int{"": 400, "{}": 422, `{"reason":""}`: 422, `{"reason":null}`: 422,
		`{"reason":"x","by":"me"}`: 422} {
		h.call("POST", "/v1/queues/low/pause", operator, body).want(want)
	}
	for _, name := range []string{"unknown", "LOW", "%7D", "low%2F"} {
		h.call("POST", "/v1/queues/"+name+"/pause", operator, reason).want(404)
	}
	h.call("GET", "/v1/queues?limit=5", viewer, "").want(400)
	if len(h.ledger.paused) > 0 || len(h.inspector.actions) > 0 {
		t.Errorf("paused all the same: %v %q", h.ledger.paused, h.inspector.actions)
	}
	h.ledger.err = job.Unavailable("the ledger cannot be reached", nil)
	h.call("GET", "/v1/queues", viewer, "").want(503)
}

// The figures are some seconds old. What Redis did with a pause is not.
func TestAPauseIsReadBackFromRedis(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.queues.figures = QueueFigures{At: time.Now(), Redis: map[string]RedisQueue{"low": {Pending: 3}}}
	paused := func(action, body string) (ledger, redis any) {
		q := h.call("POST", "/v1/queues/low/"+action, operator, body).want(200).json()
		if r, ok := q["redis"].(map[string]any); ok {
			redis = r["paused"]
		}
		return q["paused"], redis
	}
	if ledger, redis := paused("pause", `{"reason":"mail is down"}`); ledger != true || redis != true {
		t.Errorf("paused: %v in the ledger, %v in Redis", ledger, redis)
	}
	h.queues.figures.Redis["low"] = RedisQueue{Pending: 3, Paused: true}
	if ledger, redis := paused("resume", ""); ledger != false || redis != false {
		t.Errorf("resumed: %v in the ledger, %v in Redis", ledger, redis)
	}
	h.inspector.err = errors.New("redis is down")
	if ledger, redis := paused("resume", ""); ledger != false || redis != nil {
		t.Errorf("without Redis: %v in the ledger, %v in Redis", ledger, redis)
	}
}
