package app_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

func TestABatchIsTakenWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	batch := func(body string) ask {
		return ask{method: "POST", path: "/v1/jobs/batch", as: b.admin.key, body: body}
	}
	lines := func(body string) ask { a := batch(body); a.media = "application/x-ndjson"; return a }
	many := func(n int) []string { return slices.Repeat([]string{echo}, n) }
	array := func(items []string) string { return "[" + strings.Join(items, ",") + "]" }
	spoilt := many(1000)
	spoilt[617] = `{"type":"debug.echo","payload":{},"queue":"no-such"}`
	b.try([]input{
		{
			"empty",
			batch("[]"),
			422,
			"no jobs",
		}, {"empty lines", lines("\n\n"), 422, "no jobs"}, {"no lines", lines(""), 422, "no jobs"},
		{
			"one over the limit",
			batch(array(many(job.MaxBatch + 1))),
			422,
			strconv.Itoa(job.MaxBatch),
		}, {"one line over the limit",
			lines(strings.Join(many(job.MaxBatch+1), "\n")), 422, strconv.Itoa(job.MaxBatch)},
		{
			"one bad of 1,000",
			batch(array(spoilt)),
			422,
			`"/617/queue"`,
		}, {"one bad line of 1,000", lines(strings.Join(spoilt, "\n")), 422, `"/617/queue"`},
		{
			"a null within",
			batch("[" + echo + ",null]"),
			422,
			`"/1"`,
		}, {"a list within", batch("[" + echo + ",[" + echo + "]]"), 422, `"/1"`},
		{
			"a text within",
			batch("[" + echo + `,"x"]`),
			422,
			`"/1"`,
		}, {"cut off", batch("[" + echo + ","), 400, ""}, {"a cut line", lines(echo + "\n" + echo[:10]), 400,
			""}, {"two on a line", lines(echo + echo), 400, ""},
		{
			"an object",
			batch(echo),
			400,
			"",
		}, {"lines as JSON", batch(echo + "\n" + echo), 400, ""},
		{"JSON as lines", lines("[" + echo + "]"), 422, `"/0"`},
		{
			"the last of them bad",
			batch(array(append(many(999), `{"type":"no.such","payload":{}}`))),
			422,
			`"/999/type"`,
		},
	})
	if n := b.count(`SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
	b.ask(batch(array(many(job.MaxBatch)))).want(b, 202)
	b.ask(lines(strings.Join(many(1000), "\r\n"))).want(b, 202)
	if n := b.count(`SELECT count(*) FROM jobs`); n != job.MaxBatch+1000 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestAnIdempotencyKeyMakesOneJob(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ann, bob := b.join("ann", "user"), b.join("bob", "user")
	keyed := func(p *person, path, key, body string) ask {
		return ask{method: "POST", path: path, as: p.access, head: []string{"Idempotency-Key: " + key}, body: body}
	}
	var mu sync.Mutex
	ids, fresh := map[string]int{}, 0
	eachDone(50, 50, func(int) {
		r := b.ask(keyed(ann, "/v1/jobs", "once", echo))
		var v view
		b.read(r, &v)
		mu.Lock()
		defer mu.Unlock()
		if ids[v.ID]++; r.header.Get("Idempotency-Replayed") == "" {
			fresh++
		}
		if r.status != 202 {
			t.Errorf("%d: %s", r.status, r.body)
		}
	})
	if len(ids) != 1 || fresh != 1 || b.count(`SELECT count(*) FROM jobs`) != 1 {
		t.Errorf(
			"%d jobs answered, %d of them as new; stored %d",
			len(ids),
			fresh,
			b.count(`SELECT count(*) FROM jobs`),
		)
	}
	b.try([]input{
		{"another body", keyed(ann, "/v1/jobs", "once", with(`"queue":"low"`)), 422, "idempotency_reuse"},
		{"the same in other bytes", keyed(ann, "/v1/jobs", "once", echo+" "), 422, "idempotency_reuse"},
		{
			"two keys",
			ask{
				method: "POST",
				path:   "/v1/jobs",
				as:     ann.access,
				head:   []string{"Idempotency-Key: a", "Idempotency-Key: b"},
				body:   echo,
			},
			400,
			"",
		},
		{
			"an empty key",
			keyed(ann, "/v1/jobs", "", echo),
			400,
			"",
		}, {"a key with spaces", keyed(ann, "/v1/jobs", "a b", echo), 400, ""}, {"a key of 256", keyed(ann,
			"/v1/jobs", strings.Repeat("k", 256), echo), 400, ""},
		{"a key in Latin-1", keyed(ann, "/v1/jobs", "\xe9", echo), 400, ""},
		{"a bad body", keyed(ann, "/v1/jobs", "bad", with(`"queue":"no-such"`)), 422, "/queue"},
	})
	b.ask(keyed(ann, "/v1/jobs", "bad", echo)).want(b, 202) // a refusal does not use the key up
	r := b.ask(keyed(bob, "/v1/jobs", "once", with(`"queue":"low"`))).want(b, 202)
	if r.header.Get("Idempotency-Replayed") != "" {
		t.Error("bob's key is ann's")
	}
	first := b.ask(keyed(ann, "/v1/jobs/batch", "many", "["+echo+","+echo+"]")).want(b, 202)
	again := b.ask(keyed(ann, "/v1/jobs/batch", "many", "["+echo+","+echo+"]")).want(b, 202)
	if again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a batch again: %s, at first %s", again.body, first.body)
	}
	b.try([]input{{"another batch", keyed(ann, "/v1/jobs/batch", "many", "["+echo+"]"), 422, "idempotency_reuse"},
		{
			"a longer batch",
			keyed(ann, "/v1/jobs/batch", "many", "["+echo+","+echo+","+echo+"]"),
			422,
			"idempotency_reuse",
		}})
	if n := b.count(`SELECT count(*) FROM jobs`); n != 5 {
		t.Errorf("%d jobs are stored, want 5", n)
	}
}
