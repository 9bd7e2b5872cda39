-- waybill: additive
-- The id of this deployment. It is written into the Redis that carries its tasks, so that another deployment does not use the same one.
CREATE TABLE deployment (
    one integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    id  text NOT NULL
);
INSERT INTO deployment (id) VALUES (lower(hex(randomblob(16))));
