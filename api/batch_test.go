package api

import (
	"fmt"
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
	if len(h.carrier.sent) != 6 {
		t.Errorf("%d sent", len(h.carrier.sent))
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
	if h.ledger.len() != 0 || len(h.carrier.sent) != 0 {
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
	if data := h.call("POST", "/v1/jobs/batch", alice, batchOf(job.MaxBatch)).want(202).json()["data"].([]any); len(data) != job.MaxBatch {
		t.Errorf("%d jobs", len(data))
	}
}

func TestABatchThatCannotBeReadIsMalformed(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, body := range []string{"", echo, "[" + echo, "[" + echo + "]x", "[" + echo + ",]", "null", "[" + echo + echo + "]"} {
		h.call("POST", "/v1/jobs/batch", alice, body).want(400)
	}
	for _, body := range []string{echo + echo, echo + "\n{", `{"type":` + "\n" + `"debug.echo","payload":{}}`, echo + ",\n" + echo} {
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
	if first.body != again.body || h.ledger.len() != 3 || len(h.carrier.sent) != 3 {
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

func TestBatchesShareOneBudgetOfMemory(t *testing.T) {
	t.Parallel()
	m := newMemory(100)
	a, b := m.hold(), m.hold()
	if err := a.grow(60); err != nil {
		t.Fatal(err)
	}
	if b.grow(60) == nil {
		t.Error("more is held than there is")
	}
	a.release()
	if err := b.grow(60); err != nil {
		t.Error(err)
	}
	h := newAPITest(t, func(h *apiTest) { h.cfg.MaxBatchBody, h.cfg.BatchMemory = 1000, 1000 })
	for range 3 { // what is held is given back, whatever comes of it
		h.call("POST", "/v1/jobs/batch", alice, "["+fmt.Sprintf("%990s", "x")).want(400)
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
