package builtin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/guard"
	"github.com/waybill/waybill/tasks/builtin/internal/webhook"
)

// HTTPConfig is what a deployment decides about http.request.
type HTTPConfig struct {
	// Secret ("whsec_…") signs requests whose payload brings no secret of its own; empty: those are
	// not signed. While one is replaced, two or more stand here, the newest first, with commas
	// between: each signs.
	Secret string
	// Allow lists private networks that may be reached all the same, on any port.
	Allow   []netip.Prefix
	Version string // for the User-Agent; empty: "dev"
}

// Validate names what is wrong, never repeating the secret.
func (c HTTPConfig) Validate() error {
	if _, err := webhook.ParseSecrets(c.Secret); err != nil {
		return fmt.Errorf("the secret of http.request %w", err)
	}
	return nil
}

type httpPayload struct {
	URL     string            `json:"url" jsonschema:"minLength=1,maxLength=2048,example=https://example.com/hooks/orders" jsonschema_description:"Where to send it: https:// or http://, a host on the public Internet, port 80, 443 or from 1024."`
	Method  string            `json:"method,omitempty" jsonschema:"enum=GET,enum=HEAD,enum=POST,enum=PUT,enum=PATCH,enum=DELETE,default=POST" jsonschema_description:"The HTTP method."`
	Headers map[string]string `json:"headers,omitempty" jsonschema_description:"Further request headers: at most 50, 8 KiB together. Host, Content-Length, hop-by-hop and webhook-* headers are Waybill's own."`
	Body    json.RawMessage   `json:"body,omitempty" jsonschema_description:"Any JSON value, sent byte for byte with Content-Type: application/json unless headers say otherwise."`
	Secret  string            `json:"secret,omitempty" jsonschema:"minLength=38,maxLength=94" jsonschema_description:"Signs the request per Standard Webhooks: whsec_ and the base64 of 24 to 64 bytes. Left out: the deployment's secret, if it has one."`
}

// httpSender sends http.request jobs.
type httpSender struct {
	clients *httpClients
	guard   *guard.Guard
	// The deployment's, the newest first; none: requests without a secret of their own are not
	// signed.
	keys  []webhook.Key
	agent string
}

// httpRequest needs a valid cfg.
func httpRequest(cfg HTTPConfig) tasks.Type {
	g := guard.New(cfg.Allow)
	keys, _ := webhook.ParseSecrets(cfg.Secret) // held by Validate
	c := &httpSender{clients: newHTTPClients(g), guard: g, keys: keys, agent: "Waybill/" + cmp.Or(cfg.Version, "dev")}
	return tasks.Definition[httpPayload, *httpResult]{
		Name: "http.request",
		Description: "Sends an HTTP request, signed per Standard Webhooks. 2xx is done; 408, 425, 429, 5xx and " +
			"network errors are " +
			"retried, honouring Retry-After; other answers, redirects among them, are final.",
		Private: true, // headers and secret
		Example: httpPayload{URL: "https://example.com/hooks/orders", Body: json.RawMessage(`{"order":1042}`)},
		Check:   c.check,
	}.Handle(c.handle)
}

func (c *httpSender) check(p httpPayload) []tasks.FieldError {
	var fields []tasks.FieldError
	if err := c.guard.CheckURL(p.URL); err != nil {
		fields = append(fields, tasks.FieldError{Pointer: "/url", Detail: err.Error()})
	}
	if (p.Method == http.MethodGet || p.Method == http.MethodHead) && p.Body != nil {
		fields = append(fields, tasks.FieldError{Pointer: "/body", Detail: "must be left out with " + p.Method})
	}
	if p.Secret != "" {
		if _, err := webhook.ParseSecret(p.Secret); err != nil {
			fields = append(fields, tasks.FieldError{Pointer: "/secret", Detail: err.Error()})
		}
	}
	return append(fields, checkHeaders(p.Headers)...)
}

func (c *httpSender) handle(ctx context.Context, j *tasks.Job[httpPayload]) (*httpResult, error) {
	p := j.Payload
	// Again, since this worker's rules may be stricter than the API's were.
	if fields := c.check(p); len(fields) > 0 {
		return nil, tasks.Permanent(fmt.Errorf("%s: %s", fields[0].Pointer, fields[0].Detail))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := c.request(ctx, j)
	if err != nil {
		return nil, tasks.Permanent(err)
	}
	resp, status, err := c.clients.do(req)
	switch {
	case err != nil && status != 0:
		return unreadResult(status, withoutURL(err))
	case err != nil:
		return nil, sendError(ctx, err)
	}
	defer resp.Body.Close()
	// An answer that trickles on is cut off: its status has said what is to be known.
	defer time.AfterFunc(answerTime, func() { cancel(errAnswerTime) }).Stop()
	return answerResult(resp)
}

func (c *httpSender) request(ctx context.Context, j *tasks.Job[httpPayload]) (*http.Request, error) {
	p := j.Payload
	req, err := http.NewRequestWithContext(ctx, cmp.Or(p.Method, http.MethodPost), p.URL, bytes.NewReader(p.Body))
	if err != nil {
		return nil, errors.New("the request cannot be made from the payload") // the cause repeats the URL
	}
	req.URL.RawQuery = escapeQuery(req.URL.RawQuery)
	req.Header.Set("User-Agent", c.agent)
	if p.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if j.Traceparent != "" {
		req.Header.Set("Traceparent", j.Traceparent)
	}
	for name, value := range p.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set(headerOwner, j.OwnerID.String())
	req.Header.Set(headerAttempt, strconv.Itoa(j.Attempt))
	req.Header.Set(job.HopsHeader, strconv.Itoa(job.Hops(j.Labels)+1))
	return req, c.sign(req, j)
}

// sign puts the three headers of Standard Webhooks on req. The message's id is the job's, the same
// for every attempt, so that a receiver can tell a repetition. Without a secret of the payload's
// own, each secret of the deployment signs twice: as itself, which proves the deployment, and as
// the owner's secret, which is derived from it and proves whose request this is.
func (c *httpSender) sign(req *http.Request, j *tasks.Job[httpPayload]) error {
	p := j.Payload
	now, id := time.Now(), j.ID.String()
	req.Header.Set(webhook.HeaderID, id)
	req.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	keys := slices.Concat(c.keys, webhook.OwnerKeys(c.keys, j.OwnerID.String()))
	if p.Secret != "" {
		own, err := webhook.ParseSecret(p.Secret)
		if err != nil {
			return fmt.Errorf("/secret %w", err)
		}
		keys = []webhook.Key{own}
	}
	if len(keys) > 0 {
		req.Header.Set(webhook.HeaderSignature, webhook.Sign(keys, id, now, p.Body))
	}
	return nil
}
