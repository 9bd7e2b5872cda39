package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// jobLedger is where jobs are written down. What it answers with is a job.Error where the caller
// may know it.
type jobLedger interface {
	// Create writes one job down, or finds the one that its idempotency key made. When it returns,
	// it is committed.
	Create(ctx context.Context, s job.Submission) (job.Created, error)
	// CreateAll writes all jobs down, or none. The jobs it returns, in order, may lack their
	// payloads.
	CreateAll(ctx context.Context, s []job.Submission) ([]job.Created, error)
	Job(ctx context.Context, id job.ID) (*job.Job, error)
	Jobs(ctx context.Context, f job.Filter) ([]*job.Job, error)
	// Cancel and Retry answer CodeConflict, with the state, where it cannot be. To cancel twice is
	// fine.
	Cancel(ctx context.Context, id job.ID) (*job.Job, error)
	Retry(ctx context.Context, id job.ID) (*job.Job, error)
	// AwaitFinished returns nil as soon as the job is finished, or the error of ctx. Any number may
	// wait at once.
	AwaitFinished(ctx context.Context, id job.ID) error
	// OpenJobs counts the owner's jobs that are not finished, but not beyond limit.
	OpenJobs(ctx context.Context, owner job.ID, limit int) (int, error)
}

// dispatcher takes recorded jobs to the workers. None of its methods blocks or fails: what gets
// lost is found by the reconciler.
type dispatcher interface {
	Send(p ...job.Message)
	Withdraw(p job.Message)
	SignalCancel(id job.ID)
}

type jobHandler struct {
	check      checker
	jobs       jobLedger
	dispatcher dispatcher
	audit      auditor
	quota      *quota
	network    func(*requestInfo) network
	stopping   context.Context
	maxBatch   int64
	viewing    viewing
	deps       Deps
}

func newJobHandler(a *API) *jobHandler {
	cfg, deps := a.cfg, a.deps
	return &jobHandler{
		check: checker{
			tasks:  deps.Tasks,
			queues: cfg.Queues,
		}, jobs: deps.Jobs, dispatcher: deps.Dispatcher, audit: deps.Audit,
		quota: newQuota(
			cfg.Quota,
			deps.Jobs,
			deps.Now,
		), network: a.network, stopping: a.stopping, maxBatch: cfg.MaxBatchBody,
		viewing: viewing{deps.Tasks}, deps: deps,
	}
}

func (h *jobHandler) routes() []route {
	const read, write = account.ScopeJobsRead, account.ScopeJobsWrite
	user := account.RoleUser
	return []route{
		{Method: "POST", Path: "/v1/jobs", Role: user, Scope: write, Handler: h.create},
		{Method: "POST", Path: "/v1/jobs/batch", Role: user, Scope: write, Handler: h.createBatch, MaxBody: h.maxBatch},
		{Method: "GET", Path: "/v1/jobs", Role: user, Scope: read, Handler: h.list},
		{Method: "GET", Path: "/v1/jobs/:id", Role: user, Scope: read, Handler: h.get},
		{Method: "POST", Path: "/v1/jobs/:id/cancel", Role: user, Scope: write, Handler: h.cancel, MaxBody: smallBody},
		{Method: "POST", Path: "/v1/jobs/:id/retry", Role: user, Scope: write, Handler: h.retry, MaxBody: smallBody},
	}
}

// create takes a job. Once it answers 202 the job is committed, and will be run whatever happens to
// this process.
func (h *jobHandler) create(c *gin.Context) (any, error) {
	key, err := idempotencyKey(c, job.MaxIdempotency)
	if err != nil {
		return nil, err
	}
	ctx, owner := c.Request.Context(), caller(c).UserID
	if err := h.quota.take(c, owner, 1); err != nil {
		return nil, err
	}
	body, err := readBody(c, "application/json")
	if err != nil {
		return nil, err
	}
	sub, err := h.check.readJob(body, owner, h.deps.LedgerNow())
	if err != nil {
		return nil, err
	}
	if err := countHops(c, &sub); err != nil {
		return nil, err
	}
	if key != "" {
		sub.IdempotencyKey, sub.Fingerprint = key, fingerprint(c.FullPath(), body)
	}
	made, err := h.jobs.Create(ctx, sub)
	if err != nil {
		return nil, fmt.Errorf("create job: %w", err)
	}
	h.send(owner, made)
	return accepted(made), nil
}

// send gives jobs that were just written down to the dispatcher. It never fails: what it loses, the
// reconciler sends.
func (h *jobHandler) send(owner job.ID, made ...job.Created) {
	messages := make([]job.Message, 0, len(made))
	for _, m := range made {
		if !m.Replayed && m.Job.State != job.Held {
			messages = append(messages, m.Job.Message())
		}
	}
	if len(messages) > 0 {
		h.dispatcher.Send(messages...)
		h.quota.created(owner, len(messages))
	}
}

func accepted(made job.Created) reply {
	return reply{
		Status:   http.StatusAccepted,
		Location: "/v1/jobs/" + made.Job.ID.String(),
		Replayed: made.Replayed,
		Body:     jobBody{made.Job},
	}
}

// fingerprint tells requests apart that come with the same idempotency key.
func fingerprint(path string, body []byte) []byte {
	sum := sha256.New()
	sum.Write([]byte(path + "\n"))
	sum.Write(body)
	return sum.Sum(nil)
}

// idempotencyKey is the client's name for its request; empty: it gave none.
func idempotencyKey(c *gin.Context, limit int) (string, error) {
	keys := c.Request.Header["Idempotency-Key"]
	if len(keys) == 0 {
		return "", nil
	}
	key := keys[0]
	visible := len(keys) == 1 && key != "" && len(key) <= limit
	for i := 0; i < len(key) && visible; i++ {
		visible = '!' <= key[i] && key[i] <= '~'
	}
	if !visible {
		return "", &job.Error{Code: job.CodeMalformed,
			Message: fmt.Sprintf("Idempotency-Key must be one header of 1 to %d visible ASCII characters", limit)}
	}
	return key, nil
}

// own reads the job named in the path, if the caller may see it; otherwise it does not exist for
// the caller. With act set the caller must also be allowed to change it.
func (h *jobHandler) own(c *gin.Context, act bool) (*job.Job, error) {
	id, err := job.ParseID(c.Param("id"))
	if err != nil {
		return nil, job.NotFound("job")
	}
	j, err := h.jobs.Job(c.Request.Context(), id)
	if err != nil {
		return nil, fmt.Errorf("read job %s: %w", id, err)
	}
	p := caller(c)
	if err := mayRead(p, j); err != nil {
		return nil, err
	}
	if act && j.OwnerID != p.UserID && !p.Role.Includes(account.RoleOperator) {
		return nil, forbidden("this needs the role operator")
	}
	return j, nil
}

// mayRead answers that there is no such job to those who may not see it.
func mayRead(p *account.Principal, j *job.Job) error {
	if j.OwnerID == p.UserID || p.Role.Includes(account.RoleViewer) {
		return nil
	}
	return job.NotFound("job")
}

func (h *jobHandler) cancel(c *gin.Context) (any, error) {
	j, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	after, err := h.jobs.Cancel(c.Request.Context(), j.ID)
	if err != nil {
		return nil, fmt.Errorf("cancel job %s: %w", j.ID, err)
	}
	if after.State.Finished() {
		h.dispatcher.Withdraw(after.Message())
	} else {
		h.dispatcher.SignalCancel(after.ID)
	}
	h.record(c, "job.cancel", after)
	return jobBody{after}, nil
}

func (h *jobHandler) retry(c *gin.Context) (any, error) {
	if err := refuseJobs(c); err != nil {
		return nil, err
	}
	j, err := h.own(c, true)
	if err != nil {
		return nil, err
	}
	after, err := h.jobs.Retry(c.Request.Context(), j.ID)
	if err != nil {
		return nil, fmt.Errorf("retry job %s: %w", j.ID, err)
	}
	if after.State != job.Held {
		h.dispatcher.Send(after.Message())
	}
	h.record(c, "job.retry", after)
	return jobBody{after}, nil
}

// record writes an audit entry for an action on a job of another account. The job itself shows what
// its owner did.
func (h *jobHandler) record(c *gin.Context, action string, j *job.Job) {
	if p := caller(c); p.UserID != j.OwnerID {
		e := newAuditEntry(c, h.deps.LedgerNow(), action, j.ID.String())
		e.Detail = map[string]string{"owner_id": j.OwnerID.String(), "type": j.Type}
		h.audit.Record(c.Request.Context(), e)
	}
}
