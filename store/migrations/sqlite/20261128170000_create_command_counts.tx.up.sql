-- waybill: additive
-- Changes of jobs that a command made. Nothing scrapes a command's metrics, so the process that exports the ledger's figures takes these rows
-- and counts them in its own counters.
CREATE TABLE command_counts (
    type   text NOT NULL,
    queue  text NOT NULL,
    change text NOT NULL, -- created, reopened, or the outcome
    n      bigint NOT NULL
);
