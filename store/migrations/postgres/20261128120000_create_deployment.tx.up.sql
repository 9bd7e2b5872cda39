-- waybill: additive
-- The id of this deployment. It is written into the Redis that carries its tasks, so that another deployment does not use the same one.
CREATE TABLE deployment (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  text NOT NULL
);
INSERT INTO deployment (id) VALUES (gen_random_uuid()::text);
