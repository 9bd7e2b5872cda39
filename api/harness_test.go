package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/redis/go-redis/v9"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// apiTest is an API on fakes. Every answer that a test sees is held against openapi.yaml.
type apiTest struct {
	t          *testing.T
	api        *API
	cfg        Config
	ledger     *fakeLedger
	dispatcher *fakeDispatcher
	audit      *fakeAudit
	auth       *fakeAuth
	log        *syncBuffer
	clock      *fakeClock
	ready      []Check
	queues     *fakeQueues
	inspector  *fakeInspector
	redis      redis.UniversalClient // without a server behind it

	schedules      scheduler // the real one where a test is about schedules
	scheduleLedger scheduleLedger
	catalogue      *catalogue.Catalogue
	webhookSecrets func(job.ID) ([]string, error)
}

func newAPITest(t *testing.T, changes ...func(*apiTest)) *apiTest {
	t.Helper()
	h := &apiTest{
		t: t, cfg: Config{Queues: []string{"critical", "default", "low"}, Version: "test"},
		ledger: newFakeLedger(), dispatcher: &fakeDispatcher{}, audit: &fakeAudit{}, auth: newFakeAuth(), log: &syncBuffer{},
		clock: &fakeClock{at: time.Now()}, inspector: newFakeRoad(), redis: unreachableRedis(t),
	}
	h.queues = &fakeQueues{ledger: h.ledger}
	h.catalogue = testCatalogue(t)
	h.schedules, h.scheduleLedger = struct{ scheduler }{}, struct{ scheduleLedger }{}
	for _, change := range changes {
		change(h)
	}
	api, err := New(h.cfg, h.deps())
	if err != nil {
		t.Fatal(err)
	}
	h.api = api
	return h
}

func (h *apiTest) deps() Deps {
	return Deps{
		Auth:           h.auth,
		Accounts:       noAccounts{},
		Jobs:           h.ledger,
		Dispatcher:     h.dispatcher,
		Audit:          h.audit,
		Sessions:       h.auth,
		Steering:       h.ledger,
		Queues:         h.queues,
		Inspector:      h.inspector,
		Redis:          h.redis,
		Schedules:      h.schedules,
		ScheduleLedger: h.scheduleLedger,
		Tasks:          h.catalogue,
		Ready:          h.ready,
		WebhookSecrets: h.webhookSecrets,
		Log:            slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:            h.clock.now,
	}
}

type echoPayload map[string]any

type strictPayload struct {
	URL   string `json:"url"`
	Count int    `json:"count,omitempty"`
}

func testCatalogue(t testing.TB) *catalogue.Catalogue {
	c, err := catalogue.New(
		tasks.Definition[echoPayload, any]{Name: "debug.echo", Description: "Echo.", Example: echoPayload{"a": 1}},
		tasks.Definition[strictPayload, any]{
			Name:        "http.request",
			Description: "Call.",
			Example:     strictPayload{URL: "https://example.com"},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is a whole response.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

func (a answer) json() map[string]any {
	a.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

func (a answer) problem() problem {
	a.t.Helper()
	var p problem
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		a.t.Fatalf("no problem: %v in %s", err, a.body)
	}
	return p
}

// pointers are the places of the mistakes that a problem names.
func (a answer) pointers() []string {
	a.t.Helper()
	list := []string{}
	for _, e := range a.problem().Errors {
		list = append(list, e.Pointer)
	}
	slices.Sort(list)
	return list
}

// call sends a request as the owner of token; header holds names and values in turn.
func (h *apiTest) call(method, path, token, body string, header ...string) answer {
	h.t.Helper()
	return h.do(h.request(method, path, token, strings.NewReader(body), header...))
}

func (h *apiTest) request(method, path, token string, body io.Reader, header ...string) *http.Request {
	h.t.Helper()
	req := httptest.NewRequest(method, path, body)
	if method == http.MethodPost || method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

func (h *apiTest) do(req *http.Request) answer {
	h.t.Helper()
	rec := httptest.NewRecorder()
	h.api.Handler().ServeHTTP(rec, req)
	a := answer{t: h.t, status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	h.hold(req, a)
	return a
}

// hold checks what must be true of every answer.
func (h *apiTest) hold(req *http.Request, a answer) {
	h.t.Helper()
	if _, err := job.ParseID(a.header.Get("X-Request-ID")); err != nil {
		h.t.Errorf("X-Request-ID: %v", err)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Security-Policy") == "" {
		h.t.Errorf("security headers are missing: %v", a.header)
	}
	if a.status >= 400 {
		h.holdProblem(a)
	}
	validateAnswer(h.t, req, a)
}

func (h *apiTest) holdProblem(a answer) {
	h.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		h.t.Fatalf("status %d with content type %q: %s", a.status, got, a.body)
	}
	p := a.problem()
	status, _ := kind(p.Code)
	if p.Status != a.status || status != a.status || p.RequestID != a.header.Get("X-Request-ID") {
		h.t.Errorf("status %d, but the problem says %+v", a.status, p)
	}
	for status, header := range map[int]string{401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After",
		503: "Retry-After"} {
		if a.status == status && a.header.Get(header) == "" {
			h.t.Errorf("status %d without %s", status, header)
		}
	}
	for _, leak := range []string{"goroutine", "SELECT", ".go:", "secret"} {
		if strings.Contains(a.body, leak) {
			h.t.Errorf("the answer shows %q: %s", leak, a.body)
		}
	}
}

// specification is built once: it takes a while.
var specification = sync.OnceValue(func() *lockedValidator {
	doc, err := libopenapi.NewDocument(openapi)
	if err != nil {
		panic(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		panic(errs)
	}
	return &lockedValidator{validator: v, document: doc}
})

type lockedValidator struct {
	sync.Mutex
	validator validator.Validator
	document  libopenapi.Document
}

func validateAnswer(t *testing.T, req *http.Request, a answer) {
	t.Helper()
	if req.Method == http.MethodHead || a.status == http.StatusMethodNotAllowed {
		return
	}
	if a.header.Get("Content-Type") == "application/x-ndjson" { // the validator reads it as one JSON value
		return
	}
	spec := specification()
	spec.Lock()
	defer spec.Unlock()
	res := &http.Response{
		StatusCode: a.status,
		Header:     a.header,
		Body:       io.NopCloser(strings.NewReader(a.body)),
		Request:    req,
	}
	ok, errs := spec.validator.ValidateHttpResponse(req, res)
	if ok {
		return
	}
	for _, e := range errs {
		if e.IsPathMissingError() && a.status >= 400 { // nothing of ours is there
			continue
		}
		t.Errorf(
			"%s %s answers %d against openapi.yaml: %s: %s %+v",
			req.Method,
			req.URL.Path,
			a.status,
			e.Message,
			e.Reason,
			e.SchemaValidationErrors,
		)
	}
}

// syncBuffer is a log that several goroutines may write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fakeAuth knows a few tokens.
type fakeAuth struct {
	mu         sync.Mutex
	principals map[string]*account.Principal
	ended      []string // sessions
	err        error
}

const (
	alice, bob, viewer, operator, admin = "alice", "bob", "viewer", "operator", "admin"
	readKey, writeKey, bareKey          = "wb_read", "wb_write", "wb_bare"
)

func newFakeAuth() *fakeAuth {
	a := &fakeAuth{principals: map[string]*account.Principal{}}
	for name, role := range map[string]account.Role{alice: account.RoleUser, bob: account.RoleUser,
		viewer:   account.RoleViewer,
		operator: account.RoleOperator, admin: account.RoleAdmin} {
		a.principals[name] = &account.Principal{UserID: job.NewID(), Email: name + "@example.com", Role: role}
	}
	for name, scopes := range map[string][]account.Scope{readKey: {account.ScopeJobsRead},
		writeKey: {account.ScopeJobsWrite}, bareKey: nil} {
		a.principals[name] = &account.Principal{
			UserID: a.principals[alice].UserID,
			Role:   account.RoleAdmin,
			KeyID:  job.NewID(),
			Scopes: scopes,
		}
	}
	return a
}

func (a *fakeAuth) Authenticate(_ context.Context, authorization []string) (*account.Principal, error) {
	if a.err != nil {
		return nil, a.err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(authorization) == 1 {
		if p := a.principals[strings.TrimPrefix(authorization[0], "Bearer ")]; p != nil {
			return p, nil
		}
	}
	return nil, &job.Error{Code: job.CodeUnauthenticated, Message: "sign in"}
}

func (a *fakeAuth) set(name string, p *account.Principal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.principals[name] = p
}

// noAccounts answers for tests that are not about accounts.
type noAccounts struct{ accounts }

func (noAccounts) MailsResets() bool { return false }

type fakeAudit struct {
	mu      sync.Mutex
	entries []account.AuditEntry
	refused []account.AuditEntry
}

func (a *fakeAudit) Record(_ context.Context, e account.AuditEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
}

func (a *fakeAudit) RecordRefused(_ context.Context, e account.AuditEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = append(a.refused, e)
}

type fakeDispatcher struct {
	mu        sync.Mutex
	sent      []job.Message
	withdrawn []job.ID
	signaled  []job.ID
}

func (f *fakeDispatcher) Send(p ...job.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, p...)
}

func (f *fakeDispatcher) Withdraw(p job.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withdrawn = append(f.withdrawn, p.JobID)
}

func (f *fakeDispatcher) SignalCancel(id job.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signaled = append(f.signaled, id)
}
