// Package client submits jobs to a Waybill deployment and follows them, over its HTTP API.
//
// Jobs are typed by the same [tasks.Definition] that the worker handles:
//
//	c, err := client.FromEnv() // WAYBILL_URL, WAYBILL_API_KEY
//	j, err := client.Submit(ctx, c, invoice.RenderInvoice, invoice.Render{ID: "7"}, client.Queue("low"))
//	document, err := j.Wait(ctx)
//
// Every submission carries an Idempotency-Key, so a request whose answer was lost is repeated
// without making a second job. The package imports the standard library and package tasks only.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/waybill/waybill/tasks"
)

const (
	defaultRetries = 4
	retryBase      = 200 * time.Millisecond
	retryMax       = 5 * time.Second
	maxRetryAfter  = 30 * time.Second // a server that asks for more is answered to the caller instead
	requestTimeout = 30 * time.Second // beyond what the server is asked to wait
	maxBody        = 64 << 20         // bytes of an answer
)

// Client calls one deployment with one API key or access token. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	token   func() string
	http    *http.Client
	agent   string
	retries int
}

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient sends requests through h, for a transport or a CA of one's own. Redirects are
// never followed, since they would carry the key elsewhere. h's Timeout should be 0: requests that
// wait for a job take longer than others and have deadlines of their own.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) {
		own := *h
		c.http = &own
	}
}

// WithUserAgent names the calling program in the User-Agent header.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// WithToken asks token for the credential of each request, for one that changes.
func WithToken(token func() string) Option { return func(c *Client) { c.token = token } }

// WithRetries sets how often a request is repeated when the deployment cannot be reached or answers
// 429, 502, 503 or 504; the default is 4, 0 is never. Waits grow from 200 ms to 5 s with jitter, or
// are what Retry-After says, up to 30 s.
func WithRetries(n int) Option { return func(c *Client) { c.retries = max(n, 0) } }

// New makes a client of the deployment at baseURL, such as https://jobs.example.com. It makes no
// request. key is an API key ("wb_…") or an access token.
func New(baseURL, key string, opts ...Option) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(baseURL, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("client: the URL must be like https://jobs.example.com")
	}
	c := &Client{
		base:    u,
		token:   func() string { return key },
		http:    new(http.Client),
		agent:   "waybill-go",
		retries: defaultRetries,
	}
	for _, o := range opts {
		o(c)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// FromEnv makes a client from WAYBILL_URL (http://127.0.0.1:8080 where it is not set, the address
// of waybill dev) and WAYBILL_API_KEY, which must be set.
func FromEnv(opts ...Option) (*Client, error) {
	key := os.Getenv("WAYBILL_API_KEY")
	if key == "" {
		return nil, errors.New("client: WAYBILL_API_KEY is not set")
	}
	return New(cmp.Or(os.Getenv("WAYBILL_URL"), "http://127.0.0.1:8080"), key, opts...)
}

// URL is that of the deployment, without a slash at its end.
func (c *Client) URL() string { return c.base.String() }

// Call makes a request that this package has no method for, such as GET /v1/queues. path begins
// with a slash and is escaped; it may have a query. in is sent as JSON and the answer is decoded
// into out; nil stands for none. Requests other than GET are sent once, since a repetition could
// act twice.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	if !strings.HasPrefix(path, "/") { // "@host" would send the key elsewhere
		return errors.New("client: the path must begin with a slash")
	}
	r := request{method: method, path: path, once: method != http.MethodGet}
	if in != nil {
		var err error
		if r.body, err = tasks.Encode(in); err != nil {
			return fmt.Errorf("client: encode the body of %s %s: %w", method, path, err)
		}
	}
	_, err := c.call(ctx, r, out)
	return err
}

// request is one call of the API.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   []byte // JSON; nil: none
	key    string // Idempotency-Key; "": none
	wait   time.Duration
	once   bool // a repetition could act twice
}

// call makes a request, repeats it where that is safe and may help, and decodes the answer into
// out, which may be nil.
func (c *Client) call(ctx context.Context, r request, out any) (http.Header, error) {
	for failures := 0; ; {
		header, err := c.try(ctx, r, out)
		if err == nil {
			return header, nil
		}
		failures++
		wait, again := retryIn(err, failures)
		if !again || r.once || failures > c.retries || ctx.Err() != nil {
			return nil, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (c *Client) try(ctx context.Context, r request, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+r.wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, c.url(r), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.setHeader(req, r)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &connectionError{fmt.Errorf("client: %s %s: %w", r.method, r.path, err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, &connectionError{fmt.Errorf("client: read the answer of %s %s: %w", r.method, r.path, err)}
	}
	if resp.StatusCode/100 != 2 {
		return nil, newError(resp, answer)
	}
	if out == nil {
		return resp.Header, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return nil, fmt.Errorf("client: the answer of %s %s is not Waybill's: %w", r.method, r.path, err)
	}
	return resp.Header, nil
}

func (c *Client) url(r request) string {
	u := c.base.String() + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	return u
}

func (c *Client) setHeader(req *http.Request, r request) {
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	if token := c.token(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
}
