package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// client asks a deployment's API, as any program would.
type client struct {
	URL       string `help:"The API. Without it: WAYBILL_URL, or what the profile says, or http://127.0.0.1:8080." placeholder:"URL"`
	TokenFile string `help:"A file with an API key or access token. Without it: WAYBILL_API_KEY, or what the profile says." placeholder:"FILE"`
	Profile   string `help:"Which of the deployments that waybill login knows. Without it: WAYBILL_PROFILE, or the waybill dev that runs in this folder, or the current one." placeholder:"NAME"`
}

const (
	answerPatience = 30 * time.Second // beyond what the API was told to wait
	waitEach       = 30 * time.Second // in one request
)

// await reads a job, and again until it is finished or the time is over.
func (c *client) await(ctx context.Context, id string, patience time.Duration, j *jobView) error {
	for until := time.Now().Add(patience); ; {
		path := "/v1/jobs/" + url.PathEscape(id)
		if left := time.Until(until); left > 0 {
			path += "?wait=" + max(min(left, waitEach), time.Millisecond).Truncate(time.Millisecond).String()
		}
		*j = jobView{}
		if err := c.call(ctx, http.MethodGet, path, nil, "", j); err != nil {
			return err
		}
		if j.State.Finished() || time.Until(until) <= 0 {
			return nil
		}
	}
}

// each does one thing to every job. One that cannot be done does not keep the others from it.
func (c *client) each(ctx context.Context, ids []string, action string, s *streams) error {
	var all []error
	for _, id := range ids {
		var j jobView
		if err := c.call(ctx, http.MethodPost, "/v1/jobs/"+url.PathEscape(id)+"/"+action, nil, "", &j); err != nil {
			all = append(all, fmt.Errorf("%s: %w", id, err))
			continue
		}
		fmt.Fprintf(s.out, "%s\t%s\n", j.ID, j.State)
	}
	return errors.Join(all...)
}

// call makes one request and reads its answer into out. A refusal is an error that says what the
// API says.
func (c *client) call(ctx context.Context, method, path string, body []byte, idempotencyKey string, out any) error {
	at, err := c.access()
	if err != nil {
		return err
	}
	return at.call(ctx, method, path, body, idempotencyKey, out)
}

// call is client.call, where it is known whom to ask.
func (a access) call(ctx context.Context, method, path string, body []byte, idempotencyKey string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, waitEach+answerPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the API's URL: %w", err)
	}
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", idempotencyKey)
	}
	// No key goes elsewhere.
	plain := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := plain.Do(req)
	if err != nil {
		return fmt.Errorf("%w (the API's URL is from %s)", err, a.from)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refusal(resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answers no JSON; is it Waybill's API? %w", a.url, err)
	}
	return nil
}

// refusal is a problem of RFC 9457 in one line, with the fields that it names.
func refusal(status string, answer []byte) error {
	var p struct {
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
		Errors    []struct {
			Pointer string `json:"pointer"`
			Detail  string `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(answer, &p) != nil || p.Detail == "" {
		return errors.New(status)
	}
	text := status + ": " + p.Detail
	for _, e := range p.Errors {
		text += "; " + e.Pointer + " " + e.Detail
	}
	if p.RequestID != "" {
		text += " (request " + p.RequestID + ")"
	}
	return errors.New(text)
}
