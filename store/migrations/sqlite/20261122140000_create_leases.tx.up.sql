-- A duty that one process at a time has: exporting the figures of the whole deployment.
CREATE TABLE leases (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  text NOT NULL -- anybody may take what has run out
);
