-- A duty that one process at a time has: exporting the figures of the whole deployment.
CREATE TABLE leases (
    name   text PRIMARY KEY,
    holder uuid NOT NULL,
    until  timestamptz NOT NULL -- by this database's clock; anybody may take what has run out
) WITH (fillfactor = 50);
