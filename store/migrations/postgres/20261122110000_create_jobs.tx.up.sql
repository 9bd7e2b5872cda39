-- A job is three rows in turn: what was asked for, where it stands while it is open, and what came of it. internal/job holds the table of state
-- changes. The first is written once and the last is written once, so that neither leaves dead rows behind however large they grow; what
-- changes is narrow and stays as small as the number of open jobs.

-- What was asked for, from the moment of the promise on. Nothing here ever changes.
CREATE TABLE submissions (
    id              uuid PRIMARY KEY,
    owner_id        uuid NOT NULL,
    type            text NOT NULL,
    queue           text NOT NULL,
    created_at      timestamptz NOT NULL,
    max_retries     integer NOT NULL,
    timeout_ms      bigint NOT NULL,
    deadline        timestamptz,
    backoff_kind    text NOT NULL,
    backoff_base_ms bigint NOT NULL,
    backoff_max_ms  bigint NOT NULL,
    idempotency_key text,
    fingerprint     bytea,
    traceparent     text,
    labels          json,
    payload         json NOT NULL, -- json, not jsonb: byte for byte as it was sent
    CONSTRAINT submissions_policy CHECK (max_retries BETWEEN 0 AND 1000 AND timeout_ms BETWEEN 100 AND 604800000)
);
-- Lists, newest first: ids rise with time (UUIDv7), so that created_after is a range of ids.
CREATE INDEX submissions_owner ON submissions (owner_id, id);
CREATE INDEX submissions_type ON submissions (type, id);
CREATE INDEX submissions_queue ON submissions (queue, id);
CREATE UNIQUE INDEX submissions_idempotency ON submissions (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Where it stands, until its outcome is known.
CREATE TABLE open_jobs (
    id                  uuid PRIMARY KEY,
    owner_id            uuid NOT NULL,
    queue               text NOT NULL,
    state               text NOT NULL,
    run_at              timestamptz NOT NULL,
    delivery            integer NOT NULL DEFAULT 1, -- how often it was given to Redis anew; part of the asynq task's id
    dispatch_at         timestamptz NOT NULL,       -- when that delivery was decided, by this database's clock
    attempt             integer NOT NULL DEFAULT 0, -- claims so far
    settled_attempt     integer NOT NULL DEFAULT 0, -- the newest attempt whose outcome is known: nothing settles twice
    worker_id           uuid,                       -- who claimed it last
    failures            integer NOT NULL DEFAULT 0,
    interruptions       integer NOT NULL DEFAULT 0,
    crashes             integer NOT NULL DEFAULT 0, -- interruptions by a dead worker in a row
    started_at          timestamptz,
    cancel_requested_at timestamptz,
    progress_percent    double precision,
    progress_message    text,
    CONSTRAINT open_jobs_state CHECK (
        CASE state
            WHEN 'active' THEN worker_id IS NOT NULL AND started_at IS NOT NULL AND attempt > settled_attempt
            WHEN 'pending' THEN true
            WHEN 'scheduled' THEN true
            WHEN 'retry' THEN failures > 0
            WHEN 'held' THEN true
            ELSE false
        END),
    CONSTRAINT open_jobs_counts CHECK (
        delivery >= 1 AND settled_attempt >= 0 AND attempt >= settled_attempt AND failures BETWEEN 0 AND 1001 AND crashes BETWEEN 0 AND interruptions)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX open_jobs_state ON open_jobs (state, queue, id);
-- The audit walks the open jobs of a queue in the order in which their deliveries were decided.
CREATE INDEX open_jobs_dispatch ON open_jobs (queue, dispatch_at, id) WHERE state IN ('pending', 'scheduled', 'retry', 'active');

-- What came of it: its key allows one row a job.
CREATE TABLE outcomes (
    id                  uuid PRIMARY KEY,
    queue               text NOT NULL,
    state               text NOT NULL,
    finished_at         timestamptz NOT NULL,
    run_at              timestamptz NOT NULL,
    delivery            integer NOT NULL,
    attempt             integer NOT NULL,
    settled_attempt     integer NOT NULL,
    worker_id           uuid,
    failures            integer NOT NULL,
    interruptions       integer NOT NULL,
    started_at          timestamptz,
    cancel_requested_at timestamptz,
    progress_percent    double precision,
    progress_message    text,
    result              json,
    CONSTRAINT outcomes_state CHECK (
        CASE state
            WHEN 'completed' THEN attempt > 0
            WHEN 'archived' THEN true
            WHEN 'canceled' THEN cancel_requested_at IS NOT NULL
            ELSE false
        END)
);
CREATE INDEX outcomes_state ON outcomes (state, queue, id);

-- The whole of a job, for reading.
CREATE VIEW jobs AS
SELECT s.id, s.owner_id, s.type, s.queue, coalesce(o.state, f.state) AS state, o.state AS open_state, f.state AS outcome,
    coalesce(o.run_at, f.run_at) AS run_at, coalesce(o.delivery, f.delivery) AS delivery, o.dispatch_at,
    coalesce(o.attempt, f.attempt) AS attempt, coalesce(o.settled_attempt, f.settled_attempt) AS settled_attempt,
    coalesce(o.worker_id, f.worker_id) AS worker_id, coalesce(o.failures, f.failures) AS failures,
    coalesce(o.interruptions, f.interruptions) AS interruptions, s.max_retries, s.timeout_ms, s.deadline, s.backoff_kind, s.backoff_base_ms,
    s.backoff_max_ms, s.created_at, coalesce(o.started_at, f.started_at) AS started_at, f.finished_at,
    coalesce(o.cancel_requested_at, f.cancel_requested_at) AS cancel_requested_at,
    coalesce(o.progress_percent, f.progress_percent) AS progress_percent, coalesce(o.progress_message, f.progress_message) AS progress_message,
    s.idempotency_key, s.fingerprint, s.traceparent, s.labels, s.payload, f.result
FROM submissions s LEFT JOIN open_jobs o ON o.id = s.id LEFT JOIN outcomes f ON f.id = s.id;

CREATE TABLE job_labels (
    owner_id uuid NOT NULL,
    key      text NOT NULL,
    value    text NOT NULL,
    job_id   uuid NOT NULL,
    PRIMARY KEY (key, value, job_id)
);
CREATE INDEX job_labels_owner ON job_labels (owner_id, key, value, job_id);
CREATE INDEX job_labels_job ON job_labels (job_id);

CREATE TABLE job_errors (
    job_id    uuid NOT NULL,
    attempt   integer NOT NULL,
    at        timestamptz NOT NULL,
    message   text NOT NULL,
    retryable boolean NOT NULL,
    stack     text,
    PRIMARY KEY (job_id, at, attempt)
);

-- One heartbeat row per worker process, never one per job.
CREATE TABLE workers (
    id            uuid PRIMARY KEY,
    host          text NOT NULL,
    pid           integer NOT NULL,
    queues        text NOT NULL,
    slots         integer NOT NULL,
    started_at    timestamptz NOT NULL,
    beat_at       timestamptz NOT NULL,
    beating_since timestamptz NOT NULL, -- no gap between beats since then: who was silent himself may call nobody dead
    stopping      boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- What Redis knows of a queue beyond its tasks, so that an empty Redis forgets nothing.
CREATE TABLE queues (
    name      text PRIMARY KEY,
    paused_at timestamptz,
    paused_by text,
    reason    text,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL))
);
