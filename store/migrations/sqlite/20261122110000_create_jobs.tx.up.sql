-- One row a job, from the moment of the promise to its one outcome. internal/job holds the table of state changes.
CREATE TABLE jobs (
    id                  text PRIMARY KEY,
    owner_id            text NOT NULL,
    type                text NOT NULL,
    queue               text NOT NULL,
    state               text NOT NULL,
    run_at              text NOT NULL,
    delivery            integer NOT NULL DEFAULT 1, -- how often it was given to Redis anew; part of the asynq task's id
    dispatch_at         text NOT NULL,       -- when that delivery was decided, by this database's clock
    attempt             integer NOT NULL DEFAULT 0, -- claims so far
    settled_attempt     integer NOT NULL DEFAULT 0, -- the newest attempt whose outcome is known: nothing settles twice
    worker_id           text,                       -- who claimed it last
    failures            integer NOT NULL DEFAULT 0,
    interruptions       integer NOT NULL DEFAULT 0,
    crashes             integer NOT NULL DEFAULT 0, -- interruptions by a dead worker in a row
    max_retries         integer NOT NULL,
    timeout_ms          integer NOT NULL,
    deadline            text,
    backoff_kind        text NOT NULL,
    backoff_base_ms     integer NOT NULL,
    backoff_max_ms      integer NOT NULL,
    created_at          text NOT NULL,
    started_at          text,
    finished_at         text,
    cancel_requested_at text,
    progress_percent    real,
    progress_message    text,
    idempotency_key     text,
    fingerprint         blob,
    traceparent         text,
    labels              text,
    payload             text NOT NULL,              -- text, not textb: byte for byte as it was sent
    result              text,
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
            ELSE 0
        END),
    CONSTRAINT jobs_counts CHECK (
        delivery >= 1 AND settled_attempt >= 0 AND attempt >= settled_attempt AND failures BETWEEN 0 AND max_retries + 1 AND crashes BETWEEN 0 AND interruptions
        AND max_retries <= 1000 AND timeout_ms BETWEEN 100 AND 604800000)
);

-- Lists, newest first: ids rise with time (UUIDv7), so that created_after is a range of ids.
CREATE INDEX jobs_owner ON jobs (owner_id, id);
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_type ON jobs (type, id);
CREATE INDEX jobs_queue ON jobs (queue, id);
-- The audit walks the open jobs of a queue in the order in which their deliveries were decided.
CREATE INDEX jobs_dispatch ON jobs (queue, dispatch_at, id) WHERE state IN ('pending', 'scheduled', 'retry', 'active');
CREATE UNIQUE INDEX jobs_idempotency ON jobs (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE job_labels (
    owner_id text NOT NULL,
    key      text NOT NULL,
    value    text NOT NULL,
    job_id   text NOT NULL,
    PRIMARY KEY (key, value, job_id)
);
CREATE INDEX job_labels_owner ON job_labels (owner_id, key, value, job_id);
CREATE INDEX job_labels_job ON job_labels (job_id);

CREATE TABLE job_errors (
    job_id    text NOT NULL,
    attempt   integer NOT NULL,
    at        text NOT NULL,
    message   text NOT NULL,
    retryable integer NOT NULL,
    stack     text,
    PRIMARY KEY (job_id, at, attempt)
);

-- One heartbeat row per worker process, never one per job.
CREATE TABLE workers (
    id            text PRIMARY KEY,
    host          text NOT NULL,
    pid           integer NOT NULL,
    queues        text NOT NULL,
    slots         integer NOT NULL,
    started_at    text NOT NULL,
    beat_at       text NOT NULL,
    beating_since text NOT NULL, -- no gap between beats since then: who was silent himself may call nobody dead
    stopping      integer NOT NULL DEFAULT 0
);

-- What Redis knows of a queue beyond its tasks, so that an empty Redis forgets nothing.
CREATE TABLE queues (
    name      text PRIMARY KEY,
    paused_at text,
    paused_by text,
    reason    text,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL))
);
