package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

const ndjson = "application/x-ndjson"

// batchOf is an array of n jobs.
func batchOf(n int) string { return "[" + strings.Repeat(echo+",", n-1) + echo + "]" }

func TestABatchIsAnsweredInItsOrder(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	one, two := `{"type":"debug.echo","payload":{"n":  1}}`, with(`"delay":"1h"`)
	for body, contentType := range map[string]string{"[" + one + ",\n" + two + "]": "application/json",
		one + "\n" + two: ndjson, "\r\n" + one + "\r\n\n " + two + " \n\n": ndjson + "; charset=utf-8"} {
		req := h.request("POST", "/v1/jobs/batch", alice, strings.NewReader(body), "Content-Type", "")
		req.Header.Set("Content-Type", contentType)
		data := h.do(req).want(202).json()["data"].([]any)
		if len(data) != 2 {
			t.Fatalf("%v", data)
		}
		for i, state := range []string{"pending", "scheduled"} {
			item := data[i].(map[string]any)
			if item["state"] != state {
				t.Errorf("%s: %v", contentType, data)
			}
			a := h.call("GET", "/v1/jobs/"+item["id"].(string), alice, "").want(200)
			if i == 0 && !strings.Contains(a.body, `{"n":  1}`) {
				t.Errorf("the payload became %s", a.body)
			}
		}
	}
	if len(h.dispatcher.sent) != 6 {
		t.Errorf("%d sent", len(h.dispatcher.sent))
	}
}

func TestABatchIsTakenWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	thousand := strings.Split(strings.Trim(batchOf(1000), "[]"), "},{")
	thousand[617] = `"type":"nope","payload":{},"max_retries":-1`
	h.call("POST", "/v1/jobs/batch", alice, "["+strings.Join(thousand, "},{")+"]").want(422)
	for body, want := range map[string]string{
		"[]":                  "",
		"[" + echo + ",null]": "/1",
		"[" + echo + ",7]":    "/1",
		"[[" + echo + "]]":    "/0",
		"[" + echo + "," + with(`"x":1`) + `,{"type":"nope"}]`:      "/1/x /2/payload /2/type",
		`[{"type":"http.request","payload":{"url":1,"b":{"c":2}}}]`: "/0/payload/b /0/payload/url",
	} {
		a := h.call("POST", "/v1/jobs/batch", alice, body).want(422)
		if got := strings.Join(slices.Compact(a.pointers()), " "); got != want {
			t.Errorf("%s: names %q, want %q", body, got, want)
		}
	}
	if h.ledger.len() != 0 || len(h.dispatcher.sent) != 0 {
		t.Errorf("%d jobs are stored", h.ledger.len())
	}
}

func TestMistakesInABatchAreNamedByIndexUpToAHundred(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	bad := with(`"max_retries":-1,"timeout":"x"`)
	a := h.call("POST", "/v1/jobs/batch", alice, "["+echo+strings.Repeat(","+bad, 500)+"]").want(422)
	list := a.problem().Errors
	if len(list) != 100 || list[0].Pointer != "/1/max_retries" || list[99].Pointer != "/50/timeout" {
		t.Errorf("%d mistakes, %+v to %+v", len(list), list[0], list[len(list)-1])
	}
}

func TestABatchHasALimit(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	h.call("POST", "/v1/jobs/batch", alice, batchOf(job.MaxBatch+1)).want(422)
	if h.ledger.len() != 0 {
		t.Errorf("%d jobs are stored", h.ledger.len())
	}
	if data := h.call("POST", "/v1/jobs/batch", alice, batchOf(job.MaxBatch)).want(202).json()["data"].([]any); len(
		data,
	) != job.MaxBatch {
		t.Errorf("%d jobs", len(data))
	}
}

func TestABatchThatCannotBeReadIsMalformed(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, body := range []string{"", echo, "[" + echo, "[" + echo + "]x", "[" + echo + ",]", "null", "[" + echo +
		echo + "]"} {
		h.call("POST", "/v1/jobs/batch", alice, body).want(400)
	}
	for _, body := range []string{echo + echo, echo + "\n{", `{"type":` + "\n" + `"debug.echo","payload":{}}`, echo +
		",\n" + echo} {
		h.call("POST", "/v1/jobs/batch", alice, body, "Content-Type", "").want(415)
		req := h.request("POST", "/v1/jobs/batch", alice, strings.NewReader(body), "Content-Type", "")
		req.Header.Set("Content-Type", ndjson)
		h.do(req).want(400)
	}
	if h.ledger.len() != 0 {
		t.Errorf("%d jobs are stored", h.ledger.len())
	}
}

func TestABatchWithAKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	first := h.call("POST", "/v1/jobs/batch", alice, batchOf(3), "Idempotency-Key", "k").want(202)
	again := h.call("POST", "/v1/jobs/batch", alice, batchOf(3), "Idempotency-Key", "k").want(202)
	if first.body != again.body || h.ledger.len() != 3 || len(h.dispatcher.sent) != 3 {
		t.Errorf("%s and %s", first.body, again.body)
	}
	if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("headers %v and %v", first.header, again.header)
	}
	h.call("POST", "/v1/jobs/batch", alice, batchOf(4), "Idempotency-Key", "k").want(422)
	if h.ledger.len() != 3 {
		t.Errorf("%d jobs are stored", h.ledger.len())
	}
}

func TestLargeBodiesShareOneBudgetOfMemory(t *testing.T) {
	t.Parallel()
	const large = 1 << 20
	m := newByteBudget(4*large, large)
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	user, second := job.NewID(), job.NewID()
	hold := func(user job.ID, from network, bytes int64) *reservation {
		s := &reservation{of: m, user: user, from: from}
		if s.grow(freeBody) != nil || s.grow(bytes) != nil {
			return nil
		}
		return s
	}
	a := hold(user, one, large)
	if a == nil || hold(user, one, large) == nil {
		t.Fatal("a user has less than half")
	}
	if hold(user, other, large) != nil {
		t.Error("one user takes more than half")
	}
	if hold(second, one, large) == nil || hold(job.NewID(), one, large) != nil {
		t.Error("one network has not three quarters")
	}
	if hold(job.ID{}, other, large) == nil || hold(job.ID{}, other, 1) != nil {
		t.Error("more is held than there is, or less")
	}
	if hold(user, one, 0) == nil {
		t.Error("there is no room for a small body")
	}
	a.release()
	if hold(user, one, large) == nil {
		t.Error("what is given back is not free")
	}
}

func TestWhatABodyHeldIsGivenBackWhateverComesOfIt(t *testing.T) {
	t.Parallel()
	h := newAPITest(
		t,
		func(h *apiTest) { h.cfg.MaxBody, h.cfg.MaxBatchBody, h.cfg.BodyMemory = 100_000, 100_000, 100_001 },
	)
	for range 3 {
		h.call("POST", "/v1/jobs/batch", alice, "["+fmt.Sprintf("%90000s", "x")).want(400)
		h.call("POST", "/v1/jobs", alice, "["+fmt.Sprintf("%90000s", "x")).want(400)
	}
	if h.api.memory.held != 0 || len(h.api.memory.users) != 0 || len(h.api.memory.networks) != 0 {
		t.Errorf("still held: %+v", h.api.memory)
	}
}

func BenchmarkReadBatch(b *testing.B) {
	k := checker{tasks: testCatalogue(b), queues: []string{"default"}}
	body := []byte(batchOf(1000))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := k.readBatch(body, false, job.ID{}, earliest); err != nil {
			b.Fatal(err)
		}
	}
}
