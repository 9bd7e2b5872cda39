package app_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/testenv"
	"github.com/waybill/waybill/store"
	"github.com/waybill/waybill/tasks"
)

// bench is a deployment on a test's table: its processes are built as the commands build them, and
// reached as clients reach them.
type bench struct {
	*testing.T
	cfg     config.Config
	key     []byte // signs access tokens
	addr    string // of the API
	journal *journal
	types   []tasks.Type
	api     *process
	admin   *person
	secrets *[]string // must not show in the log
	sql     func() *pgx.Conn
}

// newBench makes a deployment on a database and Redis of its own and starts its API. environ
// overrides what suits most tests.
func newBench(t *testing.T, environ ...string) *bench {
	t.Helper()
	b := newIdleBench(
		t,
		append([]string{"DATABASE_URL=" + testenv.Postgres(t), "REDIS_URL=" + testenv.Redis(t).URL}, environ...)...)
	b.startAPI(app.Options{API: app.ServeAPI})
	return b
}

// newIdleBench is a deployment of which nothing runs yet. environ must name a database and a Redis.
func newIdleBench(t *testing.T, environ ...string) *bench {
	t.Helper()
	b := &bench{T: t, key: make([]byte, 32), journal: &journal{}, secrets: new([]string)}
	_, _ = rand.Read(b.key)
	all := append(
		[]string{"WAYBILL_JWT_KEYS=test:" + base64.StdEncoding.EncodeToString(b.key), "WAYBILL_REGISTRATION=open",
			"WAYBILL_METRICS_ADDR=127.0.0.1:0", "WAYBILL_CONCURRENCY=16", "WAYBILL_SHUTDOWN_GRACE=5s",
			"WAYBILL_CANCEL_GRACE=1s"},
		environ...)
	var err error
	if b.cfg, err = config.Parse(all, "DATABASE_URL", "REDIS_URL"); err != nil {
		t.Fatal(err)
	}
	b.sql = sync.OnceValue(b.connect)
	t.Cleanup(b.checkJournal)
	return b
}

// startAPI starts a process with an API, on a port of its own, and makes the administrator.
func (b *bench) startAPI(o app.Options) {
	b.Helper()
	var err error
	if o.Listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	b.addr = o.Listen.Addr().String()
	o.Migrate = true
	b.api = b.build(o)
	b.admin = &person{Email: "admin@example.com", password: "the administrator's password"}
	if b.admin.key, err = b.api.EnsureAdmin(b.Context(), b.admin.Email, b.admin.password, ""); err != nil {
		b.Fatal(err)
	}
	*b.secrets = append(*b.secrets, b.admin.key, b.admin.password)
	b.api.run()
}

// startWorker starts a process that runs jobs.
func (b *bench) startWorker() *process {
	b.Helper()
	p := b.build(app.Options{Worker: true})
	p.run()
	return p
}

// process is one that was built, and may run.
type process struct {
	*app.App
	b    *bench
	stop func() // returns when it is gone; for any number of times
}

func (b *bench) build(o app.Options) *process {
	b.Helper()
	o.Types = b.types
	a, err := app.New(
		b.Context(),
		b.cfg,
		o,
		slog.New(slog.NewTextHandler(b.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	)
	if err != nil {
		b.Fatal(err)
	}
	return &process{App: a, b: b}
}

func (p *process) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.App.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.b.Errorf("a process did not stop cleanly: %v", err)
		}
	})
	p.b.Cleanup(p.stop)
}

// in is b with what it says going to the subtest t.
func (b *bench) in(t *testing.T) *bench {
	own := *b
	own.T = t
	return &own
}

// person is a user with an account.
type person struct {
	ID       string
	Email    string
	password string
	access   string // an access token
	refresh  string
	key      string // an API key that may do all that the person may
}

// join makes an account with a role and signs it in.
func (b *bench) join(name, role string) *person {
	b.Helper()
	p := &person{Email: name + "@example.com", password: "the password of " + name}
	body := fmt.Sprintf(`{"email":%q,"password":%q,"role":%q}`, p.Email, p.password, role)
	b.read(b.ask(ask{method: "POST", path: "/v1/users", as: b.token(b.admin), body: body}).want(b, 201), p)
	b.token(p)
	return p
}

// token is a person's access token: signing in is what gives it.
func (b *bench) token(p *person) string {
	b.Helper()
	if p.access == "" {
		p.access, p.refresh = b.signIn(p.Email, p.password)
		*b.secrets = append(*b.secrets, p.password)
	}
	return p.access
}

func (b *bench) signIn(email, password string) (access, refresh string) {
	b.Helper()
	var t struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	b.read(b.ask(ask{method: "POST", path: "/v1/auth/login", body: credentials(email, password)}).want(b, 200), &t)
	*b.secrets = append(*b.secrets, t.Access, t.Refresh)
	return t.Access, t.Refresh
}

func credentials(email, password string) string {
	text, _ := json.Marshal(map[string]string{"email": email, "password": password}) // strings only
	return string(text)
}

// read takes a JSON answer apart.
func (b *bench) read(r reply, into any) {
	b.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		b.Fatalf("%v in %s", err, r.body)
	}
}

// view is what tests read of a job.
type view struct {
	ID            string          `json:"id"`
	State         job.State       `json:"state"`
	Attempt       int             `json:"attempt"`
	Failures      int             `json:"failures"`
	Interruptions int             `json:"interruptions"`
	RunAt         time.Time       `json:"run_at"`
	Payload       json.RawMessage `json:"payload"`
	Result        json.RawMessage `json:"result"`
	Errors        []struct {
		At        time.Time `json:"at"`
		Message   string    `json:"message"`
		Retryable bool      `json:"retryable"`
	} `json:"errors"`
	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

func (v view) last() string {
	if len(v.Errors) == 0 {
		return ""
	}
	return v.Errors[len(v.Errors)-1].Message
}

// submit submits a job as the administrator and answers its id.
func (b *bench) submit(body string) string {
	b.Helper()
	var v view
	b.read(b.ask(ask{method: "POST", path: "/v1/jobs", as: b.admin.key, body: body}).want(b, 202), &v)
	return v.ID
}

func (b *bench) job(id string) (v view) {
	b.Helper()
	b.read(b.ask(ask{path: "/v1/jobs/" + id, as: b.admin.key}).want(b, 200), &v)
	return v
}

// finished waits until the job is finished.
func (b *bench) finished(id string) (v view) {
	b.Helper()
	testenv.Eventually(b, 30*time.Second, func() bool {
		b.read(b.ask(ask{path: "/v1/jobs/" + id + "?wait=10s", as: b.admin.key}).want(b, 200), &v)
		return v.State.Finished()
	}, "job %s is not finished", id)
	return v
}

// becomes waits until the job has the state.
func (b *bench) becomes(id string, s job.State) (v view) {
	b.Helper()
	testenv.EventuallyNoError(b, 30*time.Second, func() error {
		if v = b.job(id); v.State != s {
			return fmt.Errorf("it is %s", v.State)
		}
		return nil
	}, "job %s is not %s", id, s)
	return v
}

// ledger opens the ledger beside the processes.
func (b *bench) ledger() *store.Store {
	b.Helper()
	s, err := store.Open(
		b.Context(),
		store.Config{URL: b.cfg.DatabaseURL.Reveal(), MaxConns: 2, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// census is everything in the ledger that a request may change, but for what is counted and noted
// of every request: two are the same text if nothing was changed between them.
func (b *bench) census() string {
	b.Helper()
	conn := b.sql()
	var out strings.Builder
	for _, table := range []string{"jobs", "job_labels", "users", "refresh_families", "queues", "schedules"} {
		var n int
		var sum string
		err := conn.QueryRow(b.Context(),
			`SELECT count(*), md5(coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '')) FROM `+table+` t`).
			Scan(&n, &sum)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&out, "%s: %d rows, %s\n", table, n, sum)
	}
	var keys, sessions int
	if err := conn.QueryRow(b.Context(),
		`SELECT (SELECT count(*) FROM api_keys), (SELECT count(*) FROM sessions)`).Scan(&keys, &sessions); err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(&out, "api_keys: %d rows\nsessions: %d rows\n", keys, sessions)
	return out.String()
}

// count asks the ledger's database for one number.
func (b *bench) count(sql string, args ...any) (n int) {
	b.Helper()
	if err := b.sql().QueryRow(b.Context(), sql, args...).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// connect opens a connection to the ledger's database for the test itself, which asks from one
// goroutine at a time.
func (b *bench) connect() *pgx.Conn {
	conn, err := pgx.Connect(context.Background(), b.cfg.DatabaseURL.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// journal is the log of all processes of a bench.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// checkJournal runs last: no secret that the test used may stand in the log, and no request may
// have ended in a panic. Of a test that failed it shows the end.
func (b *bench) checkJournal() {
	text := b.journal.String()
	for _, secret := range *b.secrets {
		if secret != "" && strings.Contains(text, secret) {
			b.Errorf("the log shows a secret: %.12s…", secret)
		}
	}
	if regexp.MustCompile(`msg="handler panicked".* route=`).MatchString(text) {
		b.Error("a request made its handler panic")
	}
	if b.Failed() {
		_, _ = io.WriteString(b.Output(), text[max(0, len(text)-6<<10):])
	}
}

// eachDone calls f for 0 to n-1, some at a time, and returns when all have returned.
func eachDone(n, atOnce int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// client is for many requests at once; it keeps its connections.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// newGround is the environment of a bench on a database and Redis of its own.
func newGround(t *testing.T) []string {
	t.Helper()
	return []string{"DATABASE_URL=" + testenv.Postgres(t), "REDIS_URL=" + testenv.Redis(t).URL}
}
