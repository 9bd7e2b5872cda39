-- Schedules, and one row for every planned time and what became of it. A schedule that was deleted keeps its ticks until their retention ends.
CREATE TABLE schedules (
    id               uuid PRIMARY KEY,
    owner_id         uuid NOT NULL,
    name             text NOT NULL,
    cron             text,
    every_seconds    bigint,
    timezone         text NOT NULL,
    start_at         timestamptz,
    end_at           timestamptz,
    jitter_ms        bigint NOT NULL,
    missed           text NOT NULL,
    missed_window_ms bigint NOT NULL,
    overlap          text NOT NULL,
    -- The job to submit.
    type             text NOT NULL,
    queue            text NOT NULL,
    payload          json NOT NULL, -- json, not jsonb: byte for byte as it was sent
    labels           json,
    max_retries      integer NOT NULL,
    timeout_ms       bigint NOT NULL,
    backoff_kind     text NOT NULL,
    backoff_base_ms  bigint NOT NULL,
    backoff_max_ms   bigint NOT NULL,

    revision         integer NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    next_at          timestamptz, -- the next planned time to decide; null: paused, over or deleted
    buffered_at      timestamptz, -- the planned time that waits for earlier jobs
    open_from        uuid,        -- its jobs with smaller ids are finished
    paused_at        timestamptz,
    paused_by        text,
    pause_reason     text,
    deleted_at       timestamptz,
    CONSTRAINT schedules_name CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT schedules_timing CHECK ((cron IS NULL) <> (every_seconds IS NULL) AND length(cron) <= 255 AND every_seconds > 0),
    CONSTRAINT schedules_bounds CHECK (end_at > start_at),
    CONSTRAINT schedules_policies CHECK (missed IN ('skip', 'latest', 'all') AND overlap IN ('allow', 'skip', 'buffer_one', 'cancel_running')
        AND jitter_ms >= 0 AND missed_window_ms >= 0),
    CONSTRAINT schedules_pause CHECK ((paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL OR next_at IS NULL)),
    CONSTRAINT schedules_deleted CHECK (deleted_at IS NULL OR (next_at IS NULL AND buffered_at IS NULL)),
    CONSTRAINT schedules_buffer CHECK (buffered_at IS NULL OR paused_at IS NULL)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX schedules_owner_name ON schedules (owner_id, name) WHERE deleted_at IS NULL;
CREATE INDEX schedules_owner ON schedules (owner_id, id);
CREATE INDEX schedules_next ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_buffered ON schedules (buffered_at) WHERE buffered_at IS NOT NULL;

CREATE TABLE schedule_ticks (
    schedule_id uuid NOT NULL,
    planned_at  timestamptz NOT NULL,
    outcome     text NOT NULL,
    job_id      uuid,
    decided_at  timestamptz NOT NULL,
    request_key text, -- who triggered it, and the Idempotency-Key that came with the request
    PRIMARY KEY (schedule_id, planned_at), -- no planned time is decided twice
    CONSTRAINT schedule_ticks_request CHECK (request_key IS NULL OR outcome = 'triggered'),
    CONSTRAINT schedule_ticks_outcome CHECK (
        CASE outcome
            WHEN 'fired' THEN job_id IS NOT NULL
            WHEN 'caught_up' THEN job_id IS NOT NULL
            WHEN 'backfilled' THEN job_id IS NOT NULL
            WHEN 'triggered' THEN job_id IS NOT NULL
            WHEN 'skipped_overlap' THEN job_id IS NULL
            WHEN 'missed' THEN job_id IS NULL
            WHEN 'buffered' THEN true
            ELSE false
        END)
);
-- Which of a schedule's jobs are not finished? Asked from schedules.open_from on.
CREATE INDEX schedule_ticks_job ON schedule_ticks (schedule_id, job_id) WHERE job_id IS NOT NULL;
-- One request triggers once, however often it is repeated.
CREATE UNIQUE INDEX schedule_ticks_request ON schedule_ticks (schedule_id, request_key) WHERE request_key IS NOT NULL;
