package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/auth"
	"github.com/waybill/waybill/internal/catalogue"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/internal/obs"
	"github.com/waybill/waybill/tasks/builtin"
)

// The benchmarks drive the whole chain that a request passes (router, middleware, sign-in, metrics,
// access log) over a ledger that answers at once, so that what they measure is HTTP alone.
// BenchmarkFloor is what a plain Gin server pays for the same: a token check, JSON in, JSON out,
// and nothing else. cpu-ns/op counts all threads, the collector's too.

const benchJob = `{"payload":{"n":1},"queue":"default","type":"debug.echo"}`

// BenchmarkSubmit is POST /v1/jobs.
func BenchmarkSubmit(b *testing.B) {
	s := newBenchServer(b)
	for _, as := range s.callers() {
		b.Run(as.name, func(b *testing.B) { drive(b, s.handler, as.post("/v1/jobs", benchJob), http.StatusAccepted) })
	}
}

// BenchmarkSubmitBatch is POST /v1/jobs/batch with 1,000 jobs.
func BenchmarkSubmitBatch(b *testing.B) {
	s := newBenchServer(b)
	body := "[" + strings.Repeat(benchJob+",", 999) + benchJob + "]"
	drive(b, s.handler, s.callers()[0].post("/v1/jobs/batch", body), http.StatusAccepted)
}

// BenchmarkSubmitHTTP is BenchmarkSubmit with the payload of http.request, whose type has fields
// and a check of its own.
func BenchmarkSubmitHTTP(b *testing.B) {
	s := newBenchServer(b)
	body := `{"type":"http.request","payload":{"url":"https://example.com/hooks/orders","method":"POST","headers":{"X-Tenant":"acme"},` +
		`"body":{"order":1042,"lines":[{"sku":"A-1","count":2},{"sku":"B-7","count":1}]}}}`
	drive(b, s.handler, s.callers()[0].post("/v1/jobs", body), http.StatusAccepted)
}

// BenchmarkJob is GET /v1/jobs/{id}.
func BenchmarkJob(b *testing.B) {
	s := newBenchServer(b)
	drive(b, s.handler, s.callers()[0].request(http.MethodGet, "/v1/jobs/"+s.ledger.job.ID.String(), ""), http.StatusOK)
}

// BenchmarkFloor is a plain Gin server's way of taking a task.
func BenchmarkFloor(b *testing.B) {
	handler, token := newFloor(b)
	drive(b, handler, benchCaller{token: token}.post("/v1/jobs", benchJob), http.StatusAccepted)
}

// BenchmarkServe is a submission over a connection: what net/http adds, to us and to the floor.
func BenchmarkServe(b *testing.B) {
	b.Run("waybill", func(b *testing.B) {
		s := newBenchServer(b)
		converse(b, s.api.Server(), s.callers()[0].post("/v1/jobs", benchJob))
	})
	b.Run("floor", func(b *testing.B) {
		handler, token := newFloor(b)
		converse(b, &http.Server{Handler: handler}, benchCaller{token: token}.post("/v1/jobs", benchJob))
	})
}

// benchServer is an API with all that surrounds its handlers in a deployment, on a ledger that
// forgets.
type benchServer struct {
	api        *API
	handler    http.Handler
	ledger     *idleLedger
	token, key string
}

func newBenchServer(b *testing.B) *benchServer {
	b.Helper()
	people := &benchPeople{user: account.User{ID: job.NewID(), Email: "ann@example.com", Role: account.RoleUser}}
	signing := auth.SigningKey{ID: "bench", Secret: bytes.Repeat([]byte{7}, 32)}
	log := obs.Logger(io.Discard, slog.LevelInfo, "json")
	who, err := auth.New(auth.Config{Keys: []auth.SigningKey{signing}}, auth.Deps{Ledger: people, Log: log})
	must(b, err)
	_, key, err := who.CreateKey(b.Context(), &account.Principal{UserID: people.user.ID}, auth.NewKey{Name: "bench"})
	must(b, err)
	types, err := builtin.Types(builtin.Config{}, log)
	if err != nil {
		b.Fatal(err)
	}
	catalogue, err := catalogue.New(types...)
	must(b, err)
	s := &benchServer{key: key, token: accessToken(b, signing, people.user.ID)}
	s.ledger = &idleLedger{
		job: &job.Job{
			ID:      job.NewID(),
			OwnerID: people.user.ID,
			Type:    "debug.echo",
			Queue:   "default",
			State:   job.Completed,
			Payload: []byte(
				`{"n":1}`,
			),
			Result:     []byte(`{"n":1}`),
			RunAt:      time.Now(),
			CreatedAt:  time.Now(),
			StartedAt:  time.Now(),
			FinishedAt: time.Now(),
			Policy: job.Policy{
				MaxRetries: 25,
				Timeout:    30 * time.Second,
				Backoff:    job.Backoff{Kind: job.Exponential, Base: 10 * time.Second, Max: time.Hour},
			},
			Attempt: 1,
			Worker:  "host/1",
		},
	}
	s.api, err = New(
		Config{
			Queues:  []string{"critical", "default", "low"},
			Version: "bench",
			Quota:   QuotaConfig{RatePerSecond: 1e9, Burst: 1e9, MaxOpen: 1e15},
		},
		Deps{
			Auth:           who,
			Accounts:       struct{ accounts }{},
			Jobs:           s.ledger,
			Dispatcher:     idleCarrier{},
			Audit:          &fakeAudit{},
			Sessions:       struct{ sessions }{},
			Steering:       struct{ jobSteering }{},
			Queues:         struct{ queueLedger }{},
			Inspector:      struct{ queueInspector }{},
			Redis:          unreachableRedis(b),
			Schedules:      struct{ scheduler }{},
			ScheduleLedger: struct{ scheduleLedger }{},
			Tasks:          catalogue,
			Log:            log,
			Watch:          obs.NewHTTP(prometheus.NewRegistry(), noop.NewTracerProvider().Tracer("bench")),
		},
	)
	must(b, err)
	s.handler = s.api.Handler()
	return s
}

func (s *benchServer) callers() []benchCaller {
	return []benchCaller{{name: "token", token: s.token}, {name: "key", token: s.key}}
}

// accessToken is one as auth issues it.
func accessToken(b *testing.B, k auth.SigningKey, user job.ID) string {
	b.Helper()
	now := time.Now()
	t := jwt.NewWithClaims(
		jwt.SigningMethodHS256,
		jwt.MapClaims{
			"iss":  "waybill",
			"aud":  "waybill",
			"sub":  user.String(),
			"role": "user",
			"sid":  job.NewID().String(),
			"jti":  job.NewID().String(),
			"iat":  now.Unix(),
			"nbf":  now.Unix() - 30,
			"exp":  now.Add(time.Hour).Unix(),
		},
	)
	t.Header["typ"], t.Header["kid"] = "at+jwt", k.ID
	text, err := t.SignedString(k.Secret)
	must(b, err)
	return text
}

// newFloor answers what a plain server would: the token checked at every request, the body bound,
// an answer written.
func newFloor(b *testing.B) (h http.Handler, token string) {
	b.Helper()
	signing := auth.SigningKey{ID: "bench", Secret: bytes.Repeat([]byte{7}, 32)}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(func(c *gin.Context) {
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(strings.TrimPrefix(c.GetHeader("Authorization"), "Bearer "), &claims,
			func(*jwt.Token) (any, error) { return signing.Secret, nil }, jwt.WithValidMethods([]string{"HS256"}))
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		c.Set("user", claims.Subject)
	})
	e.POST("/v1/jobs", func(c *gin.Context) {
		var in struct {
			Type    string         `json:"type" binding:"required"`
			Queue   string         `json:"queue"`
			Payload map[string]any `json:"payload" binding:"required"`
		}
		if err := c.ShouldBindJSON(&in); err != nil {
			c.AbortWithStatus(http.StatusUnprocessableEntity)
			return
		}
		c.JSON(
			http.StatusAccepted,
			gin.H{"id": job.NewID().String(), "type": in.Type, "queue": in.Queue, "state": "pending"},
		)
	})
	return e, accessToken(b, signing, job.NewID())
}

type benchCaller struct{ name, token string }

func (as benchCaller) post(path, body string) *http.Request {
	return as.request(http.MethodPost, path, body)
}

func (as benchCaller) request(method, path, body string) *http.Request {
	r, err := http.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	if err != nil {
		panic(err)
	}
	r.RequestURI, r.RemoteAddr = path, "127.0.0.1:40000"
	r.Header = http.Header{
		"Authorization":   {"Bearer " + as.token},
		"User-Agent":      {"Go-http-client/1.1"},
		"Accept-Encoding": {"gzip"},
	}
	if body != "" {
		r.Header["Content-Type"], r.Header["Content-Length"] = []string{
			"application/json",
		}, []string{
			fmt.Sprint(len(body)),
		}
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	}
	return r
}

// drive sends a request again and again, without a network. What it makes itself is a body and the
// header of an answer, as net/http would.
func drive(b *testing.B, h http.Handler, like *http.Request, want int) {
	b.Helper()
	w := &blackHole{}
	once := func() {
		r := *like
		if like.GetBody != nil {
			r.Body, _ = like.GetBody()
		}
		w.header, w.status = make(http.Header), 0
		h.ServeHTTP(w, &r)
		if w.status != want {
			b.Fatalf("status %d: %s", w.status, w.last)
		}
	}
	once() // what is made once is not the request's
	measure(b, once)
}

// measure runs once b.N times and reports the processor time of all threads.
func measure(b *testing.B, once func()) {
	b.Helper()
	b.ReportAllocs()
	before := processorTime()
	for b.Loop() {
		once()
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// converse sends a request again and again over one connection. Its client does no more than write
// bytes and read to the end of an answer.
func converse(b *testing.B, s *http.Server, like *http.Request) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	var wire bytes.Buffer
	like.Body, _ = like.GetBody()
	like.Header.Del("Content-Length")
	must(b, like.Write(&wire))
	conn, err := net.Dial("tcp", l.Addr().String())
	must(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	answers := bufio.NewReader(conn)
	measure(b, func() {
		if _, err := conn.Write(wire.Bytes()); err != nil {
			b.Fatal(err)
		}
		readAnswer(b, answers)
	})
}

// readAnswer reads one answer that has a Content-Length, and insists on 202.
func readAnswer(b *testing.B, r *bufio.Reader) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			b.Fatal(err)
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 202 ")):
			b.Fatalf("%s", line)
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			for _, c := range bytes.TrimSpace(line[len("Content-Length: "):]) {
				length = 10*length + int(c-'0')
			}
		case len(line) == 2:
			if _, err := r.Discard(length); err != nil {
				b.Fatal(err)
			}
			return
		}
	}
}

// blackHole is a ResponseWriter that keeps nothing but the status and the start of the answer.
type blackHole struct {
	header http.Header
	status int
	last   []byte
}

func (w *blackHole) Header() http.Header    { return w.header }
func (w *blackHole) WriteHeader(status int) { w.status = status }
func (w *blackHole) Write(p []byte) (int, error) {
	w.last = append(w.last[:0], p[:min(len(p), 300)]...)
	return len(p), nil
}

// idleLedger writes nothing down, at once.
type idleLedger struct {
	jobLedger
	job *job.Job
}

func (l *idleLedger) Create(_ context.Context, s job.Submission) (job.Created, error) {
	return idleCreated(s, time.Now()), nil
}

func (l *idleLedger) CreateAll(_ context.Context, subs []job.Submission) ([]job.Created, error) {
	made, now := make([]job.Created, len(subs)), time.Now()
	for i, s := range subs {
		made[i] = idleCreated(s, now)
	}
	return made, nil
}

func idleCreated(s job.Submission, now time.Time) job.Created {
	return job.Created{
		Job: &job.Job{
			ID:        s.ID,
			OwnerID:   s.OwnerID,
			Type:      s.Type,
			Queue:     s.Queue,
			Payload:   s.Payload,
			Labels:    s.Labels,
			Policy:    s.Policy,
			State:     job.Pending,
			RunAt:     now,
			Delivery:  1,
			CreatedAt: now,
		},
	}
}

func (l *idleLedger) Job(context.Context, job.ID) (*job.Job, error) { return l.job, nil }

// idleCarrier carries nothing.
type idleCarrier struct{ dispatcher }

func (idleCarrier) Send(...job.Message) {}

// benchPeople is one user with one key.
type benchPeople struct {
	auth.Ledger
	user account.User
	key  *account.Key
}

func (p *benchPeople) User(context.Context, job.ID) (*account.User, error) { return &p.user, nil }
func (p *benchPeople) Key(context.Context, job.ID) (*account.Key, error)   { return p.key, nil }
func (p *benchPeople) Family(context.Context, job.ID) (*account.Family, error) {
	return &account.Family{UserID: p.user.ID, CreatedAt: time.Now()}, nil
}
func (p *benchPeople) CreateKey(_ context.Context, _ account.Request, k *account.Key, _ int) error {
	p.key = k
	return nil
}
func (p *benchPeople) Record(context.Context, account.AuditEntry) error { return nil }
