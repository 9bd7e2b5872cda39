-- One row a job, from the moment of the promise to its one outcome. internal/job holds the table of state changes.
CREATE TABLE jobs (
    id                  uuid PRIMARY KEY,
    owner_id            uuid NOT NULL,
    type                text NOT NULL,
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
    max_retries         integer NOT NULL,
    timeout_ms          bigint NOT NULL,
    deadline            timestamptz,
    backoff_kind        text NOT NULL,
    backoff_base_ms     bigint NOT NULL,
    backoff_max_ms      bigint NOT NULL,
    created_at          timestamptz NOT NULL,
    started_at          timestamptz,
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    progress_percent    double precision,
    progress_message    text,
    idempotency_key     text,
    fingerprint         bytea,
    traceparent         text,
    labels              json,
    payload             json NOT NULL,              -- json, not jsonb: byte for byte as it was sent
    result              json,
    CONSTRAINT jobs_state CHECK (
        CASE state
            WHEN 'active' THEN worker_id IS NOT NULL AND started_at IS NOT NULL AND attempt > settled_attempt AND finished_at IS NULL
            WHEN 'pending' THEN finished_at IS NULL
            WHEN 'scheduled' THEN finished_at IS NULL
            WHEN 'retry' THEN finished_at IS NULL AND failures > 0
            WHEN 'held' THEN finished_at IS NULL
            WHEN 'completed' THEN finished_at IS NOT NULL AND attempt > 0
            WHEN 'archived' THEN finished_at IS NOT NULL
            WHEN 'canceled' THEN finished_at IS NOT NULL AND cancel_requested_at IS NOT NULL
            ELSE false
        END),
    CONSTRAINT jobs_counts CHECK (
        delivery >= 1 AND settled_attempt >= 0 AND attempt >= settled_attempt AND failures BETWEEN 0 AND max_retries + 1 AND crashes BETWEEN 0 AND interruptions
        AND max_retries <= 1000 AND timeout_ms BETWEEN 100 AND 604800000)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- Lists, newest first: ids rise with time (UUIDv7), so that created_after is a range of ids.
CREATE INDEX jobs_owner ON jobs (owner_id, id);
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_type ON jobs (type, id);
CREATE INDEX jobs_queue ON jobs (queue, id);
-- The audit walks the open jobs of a queue in the order in which their deliveries were decided.
CREATE INDEX jobs_dispatch ON jobs (queue, dispatch_at, id) WHERE state IN ('pending', 'scheduled', 'retry', 'active');
CREATE UNIQUE INDEX jobs_idempotency ON jobs (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

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
