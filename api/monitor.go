package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

const (
	monitorRoot = "/monitor"
	monitorAPI  = monitorRoot + "/api"
	monitorJobs = monitorRoot + "/jobs/"

	maxMonitorPage = 1000 // tasks on one page of asynqmon
	maxMonitorBody = 1 << 20
)

// jobSteering is what the ledger decides when an operator acts in the monitor. All of it answers
// CodeConflict, with the job's state, where it cannot be.
type jobSteering interface {
	Job(ctx context.Context, id job.ID) (*job.Job, error)
	// ListedJobs reads jobs without payload, result and errors. Those that do not exist are left
	// out.
	ListedJobs(ctx context.Context, ids []job.ID) ([]*job.Job, error)
	Cancel(ctx context.Context, id job.ID) (*job.Job, error)
	// RunNow starts a job again that is archived, canceled or waits for its time, under a new
	// delivery.
	RunNow(ctx context.Context, id job.ID) (*job.Job, error)
	Archive(ctx context.Context, id job.ID, reason string) (*job.Job, error)
	Pause(ctx context.Context, queue, by, reason string) error
	Resume(ctx context.Context, queue string) error
}

// queueInspector is what Redis holds, as asynq keeps it. It follows the ledger.
type queueInspector interface {
	// TaskIDs lists the tasks in one of a queue's lists, at most limit.
	TaskIDs(ctx context.Context, queue string, list job.State, limit int) ([]string, error)
	RunTask(ctx context.Context, queue, id string) error
	ArchiveTask(ctx context.Context, queue, id string) error
	DeleteTask(ctx context.Context, queue, id string) error
	CancelTask(ctx context.Context, id string) error
	PauseQueue(ctx context.Context, queue string) error
	ResumeQueue(ctx context.Context, queue string) error
	// QueuePaused asks Redis whether it holds the queue back.
	QueuePaused(ctx context.Context, queue string) (bool, error)
	DeleteQueue(ctx context.Context, queue string) error
}

// monitor is asynqmon behind the sign-in page. asynqmon itself only ever reads: whatever changes
// something is understood here, decided by the ledger, and then followed in Redis. What is not
// understood is refused.
type monitor struct {
	browsers *browsers
	base     base
	reader   http.Handler // asynqmon
	viewer   *monitorPage
	operator *monitorPage
	actions  *monitorActions
	ledger   scheduleLedger
	charts   *charts
	viewing  viewing
}

func newMonitor(cfg Config, deps Deps, b *browsers) (*monitor, error) {
	charts := newCharts(cfg.PrometheusURL)
	reader := newAsynqmon(b.base, deps.Redis, true, charts != nil)
	viewer, err := newMonitorPage(b.base, reader)
	if err != nil {
		return nil, err
	}
	operator, err := newMonitorPage(b.base, newAsynqmon(b.base, deps.Redis, false, charts != nil))
	if err != nil {
		return nil, err
	}
	return &monitor{
		browsers: b,
		base:     b.base,
		reader:   reader,
		viewer:   viewer,
		operator: operator,
		charts:   charts,
		actions:  newMonitorActions(cfg, deps),
		ledger:   deps.ScheduleLedger,
		viewing:  viewing{deps.Tasks},
	}, nil
}

func (m *monitor) routes() []route {
	const read, act = account.RoleViewer, account.RoleOperator
	return []route{
		{Method: "GET", Path: monitorRoot, Browser: true, Role: read, Raw: m.get},
		{Method: "GET", Path: monitorRoot + "/*path", Browser: true, Role: read, Raw: m.get},
		{Method: "POST", Path: monitorRoot + "/*path", Browser: true, Role: act, Raw: m.act, MaxBody: maxMonitorBody},
		{Method: "DELETE", Path: monitorRoot + "/*path", Browser: true, Role: act, Raw: m.act, MaxBody: maxMonitorBody},
	}
}

// isMonitorPath accepts the paths that asynqmon may see: those that can be read in one way only.
func isMonitorPath(p string) bool {
	rest, ok := strings.CutPrefix(p, monitorRoot)
	if !ok || rest != "" && rest[0] != '/' ||
		strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return false
	}
	for segment := range strings.SplitSeq(strings.Trim(rest, "/"), "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.Contains(rest, "//")
}

func (m *monitor) get(c *gin.Context) {
	p := c.Request.URL.Path
	switch rest := strings.TrimPrefix(p, monitorRoot); {
	case !isMonitorPath(p):
		m.browsers.fail(c, errNoRoute)
	case p == monitorAPI+"/metrics":
		m.answer(c, m.charts.read)
	case strings.HasPrefix(p, monitorJobs):
		m.answer(c, m.job)
	case p == schedulerEntries:
		m.answer(c, m.schedules)
	case strings.HasPrefix(p, schedulerEntries+"/") && strings.HasSuffix(p, enqueueEvents):
		m.answer(c, m.scheduleEvents)
	case strings.HasPrefix(p, monitorAPI+"/"):
		m.read(c)
	case strings.HasPrefix(rest, "/static/") || strings.Count(rest, "/") == 1 && strings.Contains(rest, "."):
		m.asset(c)
	case caller(c).Role.Includes(account.RoleOperator):
		m.operator.write(c)
	default:
		m.viewer.write(c)
	}
}

// answer is handle for asynqmon's own page.
func (m *monitor) answer(c *gin.Context, h func(*gin.Context) (any, error)) {
	value, err := h(c)
	if err == nil {
		err = respond(c, reply{Body: value})
	}
	if err != nil {
		m.browsers.fail(c, err)
	}
}

func (m *monitor) act(c *gin.Context) {
	o, ok := parseTaskAction(c.Request.Method, c.Request.URL.Path)
	if !ok || !isMonitorPath(c.Request.URL.Path) {
		m.browsers.fail(c, errNoRoute)
		return
	}
	m.answer(c, func(c *gin.Context) (any, error) { return m.actions.execute(c, o) })
}

// read lets asynqmon answer. What it says of its errors, addresses of Redis among it, is for the
// log only.
func (m *monitor) read(c *gin.Context) {
	if err := checkPage(c); err != nil {
		m.browsers.fail(c, err)
		return
	}
	got := serve(m.reader, m.base, c.Request)
	text := strings.TrimSpace(got.body.String())
	switch {
	case got.status < 400:
		body, err := m.correct(
			c.Request.Context(),
			c.Request.URL.Path,
			got.body.Bytes(),
			!caller(c).Role.Includes(account.RoleOperator),
		)
		if err != nil {
			m.browsers.fail(c, err)
			return
		}
		write(c, got.status, "application/json", body)
	case got.status == http.StatusNotFound || strings.Contains(text, "not found"):
		m.browsers.fail(
			c,
			&job.Error{Code: job.CodeNotFound, Message: "redis has no such queue or task", Err: errors.New(text)},
		)
	default:
		m.browsers.fail(
			c,
			job.Unavailable("redis does not answer as it should", fmt.Errorf("asynqmon: %d %s", got.status, text)),
		)
	}
}

// checkPage bounds how much asynqmon reads from Redis at once.
func checkPage(c *gin.Context) error {
	for name, limit := range map[string]int{"size": maxMonitorPage, "page": 1_000_000} {
		v := c.Query(name)
		if n, err := strconv.Atoi(v); v != "" && (err != nil || n < 1 || n > limit) {
			return badParameter(name, fmt.Sprintf("must be a whole number from 1 to %d", limit))
		}
	}
	return nil
}
