package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/loop"
)

// client submits, repeats and cancels as a good client does, and holds every answer to what the API
// promises. It is not package client, which hides what is recorded here: each repetition, answers
// that did not come, Idempotency-Replayed, and the bytes of each answer.
type client struct {
	base, key string
	http      *http.Client
	book      *recorder
	mayDie    bool // the API is killed: requests may stay without an answer
	mayRefuse bool // the ledger is down or the load too much: 503 and 429 are right
}

func newClient(base, key string, b *recorder) *client {
	return &client{base: base, key: key, book: b, http: &http.Client{Timeout: 35 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 512}}}
}

// innards are words that no answer may hold.
var innards = regexp.MustCompile(
	`(?i)sqlstate|insert into|\bselect\b|update jobs|dial tcp|127\.0\.0\.1|goroutine|\.go:\d`,
)

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request. err means that no answer came.
func (c *client) do(ctx context.Context, method, path, contentType, idempotencyKey, body string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if idempotencyKey != "" {
		req.Header["Idempotency-Key"] = []string{idempotencyKey}
		req.GetBody = nil // net/http would repeat the request by itself: that is this client's to do
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, b}, nil
}

// try is one request of a client: what came back is judged, and nil stands for nothing useful.
func (c *client) try(ctx context.Context, method, path, contentType, key, body string) *answer {
	began := time.Now()
	a, err := c.do(ctx, method, path, contentType, key, body)
	took := time.Since(began)
	switch {
	case err != nil:
		c.book.count(0, 1, 0)
		if ctx.Err() == nil && !c.mayDie {
			c.book.complain("%s %s stayed without an answer: %v", method, pathKind(path), err)
		}
		return nil
	case a.status >= 400:
		c.judge(method, pathKind(path), a)
	}
	c.book.count(0, 0, took)
	return a
}

func pathKind(path string) string {
	return regexp.MustCompile(`[0-9a-f-]{36}`).ReplaceAllString(path, "{id}")
}

// judge holds an answer that says no to the rules: RFC 9457 with a code, Retry-After where it may
// be repeated, nothing of our innards.
func (c *client) judge(method, path string, a *answer) {
	var p struct {
		Code      string `json:"code"`
		RequestID string `json:"request_id"`
	}
	what := fmt.Sprintf("%s %s answered %d: %.300s", method, path, a.status, a.body)
	if json.Unmarshal(a.body, &p) != nil || p.Code == "" || p.RequestID == "" ||
		a.header.Get("Content-Type") != "application/problem+json" {
		c.book.complain("%s: no proper problem", what)
	}
	if innards.Match(a.body) {
		c.book.complain("%s: it shows our innards", what)
	}
	switch a.status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		c.book.count(1, 0, 0)
		if a.header.Get("Retry-After") == "" {
			c.book.complain("%s: no Retry-After", what)
		}
		if !c.mayRefuse {
			c.book.complain("%s: although the ledger is well", what)
		}
	case http.StatusConflict:
	default:
		c.book.complain("%s: unexpected", what)
	}
}

// submit sends an order until it is answered with 2xx, if it has a key; else once.
func (c *client) submit(ctx context.Context, o *order) bool {
	for {
		a := c.try(ctx, http.MethodPost, "/v1/jobs", "application/json", o.key, o.body)
		if a != nil && a.status == http.StatusAccepted {
			var made struct {
				ID string `json:"id"`
			}
			if json.Unmarshal(a.body, &made) != nil || made.ID == "" {
				c.book.complain("202 without an id: %.200s", a.body)
			}
			c.book.promised(o, made.ID)
			return true
		}
		if o.key == "" || !retryPause(ctx, a) {
			return false
		}
	}
}

// submitAll sends orders as one batch with a key, until it is answered with 2xx.
func (c *client) submitAll(ctx context.Context, key string, list []*order) {
	var body bytes.Buffer
	for _, o := range list {
		body.WriteString(o.body + "\n")
	}
	for {
		a := c.try(ctx, http.MethodPost, "/v1/jobs/batch", "application/x-ndjson", key, body.String())
		if a != nil && a.status == http.StatusAccepted {
			c.batchPromised(a.body, list)
			return
		}
		if !retryPause(ctx, a) {
			return
		}
	}
}

func (c *client) batchPromised(body []byte, list []*order) {
	var made struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &made); err != nil || len(made.Data) != len(list) {
		c.book.complain("a batch of %d was answered with %d jobs", len(list), len(made.Data))
		return
	}
	for i, o := range list {
		c.book.promised(o, made.Data[i].ID)
	}
}

// retryPause waits as Retry-After says, but no longer than a second: the run is short.
func retryPause(ctx context.Context, a *answer) bool {
	pause := 200 * time.Millisecond
	if a != nil {
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil {
			pause = min(time.Duration(s)*time.Second, time.Second)
		}
	}
	return loop.Sleep(ctx, pause)
}

// cancel calls the order's job off. What is not answered may have happened.
func (c *client) cancel(ctx context.Context, o *order) {
	c.book.cancelSent(o)
	c.readState(ctx, http.MethodPost, "/v1/jobs/"+o.ids[0]+"/cancel", o, true)
}

// await asks for the order's job until it is finished or ctx ends.
func (c *client) await(ctx context.Context, o *order) {
	for !c.readState(ctx, http.MethodGet, "/v1/jobs/"+o.ids[0]+"?wait=5s", o, false) &&
		loop.Sleep(ctx, 500*time.Millisecond) {
	}
}

func (c *client) readState(ctx context.Context, method, path string, o *order, cancel bool) (finished bool) {
	a := c.try(ctx, method, path, "", "", "")
	if a == nil || a.status != http.StatusOK {
		return false
	}
	var j struct {
		State job.State `json:"state"`
	}
	if json.Unmarshal(a.body, &j) != nil {
		c.book.complain("%s answered no job: %.200s", method, a.body)
		return false
	}
	c.book.read(o, j.State, cancel)
	return j.State.Finished()
}

// call is a plain request for the preparations: it fails unless it is answered with 2xx, whose body
// is read into out.
func call(ctx context.Context, method, url, token, body string, out any) error {
	c := &client{base: "", key: token, http: &http.Client{Timeout: 10 * time.Second}}
	a, err := c.do(ctx, method, url, "application/json", "", body)
	if err != nil {
		return err
	}
	if a.status >= 300 {
		return fmt.Errorf("%s %s: %d: %.300s", method, url, a.status, a.body)
	}
	return json.Unmarshal(a.body, out)
}

// awaitReady asks /readyz until it answers as wanted.
func awaitReady(ctx context.Context, base string, want bool, patience time.Duration) error {
	c := &client{http: &http.Client{Timeout: 5 * time.Second}}
	deadline := time.Now().Add(patience)
	for {
		a, err := c.do(ctx, http.MethodGet, base+"/readyz", "", "", "")
		if err == nil && (a.status == http.StatusOK) == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("/readyz did not turn to %v within %v: %v, %v", want, patience, a, err)
		}
		if !loop.Sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}
