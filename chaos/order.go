package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/job"
)

// order is one job as its client knows it. What is learned about it later is guarded by the book.
type order struct {
	ref  string // in the label "ref", by which a row is found
	kind string
	key  string // Idempotency-Key; empty: none, and then it is never repeated
	body string
	want []job.State // any of these
	// failures that the job has by its own doing; -1: any number
	failures int
	// cancelAfter is how long after its answer the job is canceled; 0: never.
	cancelAfter time.Duration
	waits       bool // a request waits for its end with ?wait=
	twice       bool // submitted twice at once, with the same key
	anew        bool // once it is given up, it is retried by hand
	probe       bool
	many        bool // a schedule makes any number of jobs of this label

	ids        []string // as answered, once for each 2xx
	answeredAt time.Time
	cancels    bool      // a cancel was sent
	canceledAt time.Time // its answer said that the job is canceled
	seen       job.State // finished, as an answer said
}

// mix makes orders. The same seed makes the same ones.
type mix struct {
	rng  *rand.Rand
	sink *receiver
	n    int
}

func newMix(seed uint64, s *receiver) *mix { return &mix{rng: rand.New(rand.NewPCG(seed, 7)), sink: s} }

// kinds of orders and how many of a thousand they are.
var kinds = []struct {
	share int
	make  func(m *mix, o *order)
}{
	{290, (*mix).echo},
	{130, (*mix).sleep},
	{90, (*mix).fail},
	{20, (*mix).permanent},
	{20, (*mix).exhausted},
	{10, (*mix).ranAnew},
	{20, (*mix).panics},
	{260, (*mix).call},
	{40, (*mix).longCall},
	{60, (*mix).scheduled},
	{40, (*mix).calledOff},
	{20, (*mix).calledOffRunning},
}

func (m *mix) next() *order {
	m.n++
	o := &order{ref: fmt.Sprintf("%d", m.n), want: completed()}
	pick := m.rng.IntN(1000)
	for _, k := range kinds {
		if pick -= k.share; pick < 0 {
			k.make(m, o)
			break
		}
	}
	if m.rng.IntN(2) == 0 {
		o.key = "key-" + o.ref
		o.twice = m.rng.IntN(20) == 0
	}
	o.waits = m.rng.IntN(50) == 0
	return o
}

// submit fills in the body: a type, a payload, and further fields that begin with a comma.
func (o *order) submit(taskType, payload string, more ...string) {
	queue := "default"
	if strings.HasSuffix(o.ref, "7") {
		queue = "critical"
	}
	o.body = fmt.Sprintf(
		`{"type":%q,"payload":%s,"queue":%q,"labels":{"ref":%q}%s}`,
		taskType,
		payload,
		queue,
		o.ref,
		strings.Join(more, ""),
	)
}

const quick = `,"backoff":{"kind":"fixed","base":"1s","max":"1s"}`

func (m *mix) echo(o *order) {
	o.kind = "echo"
	o.submit("debug.echo", fmt.Sprintf(`{"n":%s, "pad":%q}`, o.ref, strings.Repeat("x", m.rng.IntN(2000))))
}

func (m *mix) sleep(o *order) {
	o.kind = "sleep"
	o.submit("debug.sleep", fmt.Sprintf(`{"duration":"%dms"}`, 10+m.rng.IntN(200)))
}

func (m *mix) fail(o *order) {
	o.kind, o.failures = "fail", 1+m.rng.IntN(2)
	o.submit("debug.fail", fmt.Sprintf(`{"times":%d}`, o.failures), `,"max_retries":2`, quick)
}

func (m *mix) permanent(o *order) {
	o.kind, o.failures, o.want = "permanent", 1, []job.State{job.Archived}
	o.submit("debug.fail", `{"permanent":true}`)
}

// ranAnew is given up, retried by hand, and given up again.
func (m *mix) ranAnew(o *order) {
	m.permanent(o)
	o.kind, o.anew = "ran again", true
}

func (m *mix) exhausted(o *order) {
	o.kind, o.failures, o.want = "exhausted", 2, []job.State{job.Archived}
	o.submit("debug.fail", `{}`, `,"max_retries":1`, quick)
}

func (m *mix) panics(o *order) {
	o.kind, o.failures = "panics", 1
	o.submit("debug.fail", `{"times":1,"panic":true}`, `,"max_retries":1`, quick)
}

func (m *mix) call(o *order) { m.callFor(o, time.Duration(m.rng.IntN(100))*time.Millisecond) }

func (m *mix) longCall(o *order) {
	m.callFor(o, time.Duration(500+m.rng.IntN(1500))*time.Millisecond)
}

func (m *mix) callFor(o *order, hold time.Duration, more ...string) {
	o.kind = "call"
	o.submit(
		"http.request",
		fmt.Sprintf(`{"url":%q,"body":{"n":%s}}`, m.sink.url(hold), o.ref),
		append([]string{quick}, more...)...)
}

func (m *mix) scheduled(o *order) {
	m.callFor(o, 0, fmt.Sprintf(`,"delay":"%dms"`, 500+m.rng.IntN(5000)))
	o.kind = "scheduled"
}

// calledOff is canceled while it waits, if its cancel gets through in time.
func (m *mix) calledOff(o *order) {
	m.callFor(o, 0, fmt.Sprintf(`,"delay":"%dms"`, 2000+m.rng.IntN(4000)))
	o.kind, o.cancelAfter = "canceled", time.Duration(1+m.rng.IntN(3000))*time.Millisecond
	o.want = append(slices.Clone(o.want), job.Canceled)
}

func (m *mix) calledOffRunning(o *order) {
	o.kind, o.cancelAfter, o.want = "canceled running", time.Duration(
		1+m.rng.IntN(1000),
	)*time.Millisecond, []job.State{
		job.Completed,
		job.Canceled,
	}
	o.submit("debug.sleep", `{"duration":"1s"}`)
}
