-- Who may call. No row here holds a secret: passwords are argon2id, everything else is SHA-256 of at least 256 random bits.
CREATE TABLE users (
    id            text NOT NULL PRIMARY KEY,
    email         text NOT NULL,
    name          text NOT NULL,
    role          text NOT NULL,
    password_hash text NOT NULL,
    created_at    text NOT NULL,
    disabled_at   text,
    valid_after   text, -- access tokens and refresh families that began before it are refused
    CONSTRAINT users_email CHECK (email = lower(email) AND email = trim(email) AND length(email) BETWEEN 3 AND 254 AND email LIKE '_%@_%'),
    CONSTRAINT users_name CHECK (length(name) <= 100),
    CONSTRAINT users_role CHECK (role IN ('user', 'viewer', 'operator', 'admin')),
    CONSTRAINT users_password CHECK (password_hash LIKE '$argon2id$%')
);
CREATE UNIQUE INDEX users_email_key ON users (email);
-- Is there another administrator? Asked whenever one is demoted or disabled.
CREATE INDEX users_admins ON users (id) WHERE role = 'admin' AND disabled_at IS NULL;

-- One row, locked by whoever takes an administrator's rights away: two at once would each see the other one left.
CREATE TABLE admin_guard (id integer PRIMARY KEY CHECK (id = 1));
INSERT INTO admin_guard (id) VALUES (1);

-- One row a sign-in, whatever the number of rotations: it names the one refresh token that is good, so two cannot be.
CREATE TABLE refresh_families (
    id         text NOT NULL PRIMARY KEY,
    user_id    text NOT NULL REFERENCES users (id),
    key_hash   blob NOT NULL,
    token_hash blob NOT NULL,
    created_at text NOT NULL,
    expires_at text NOT NULL,
    CONSTRAINT refresh_families_hashes CHECK (length(key_hash) = 32 AND length(token_hash) = 32),
    CONSTRAINT refresh_families_expiry CHECK (expires_at > created_at)
);
CREATE UNIQUE INDEX refresh_families_key ON refresh_families (key_hash);
CREATE INDEX refresh_families_user ON refresh_families (user_id);
CREATE INDEX refresh_families_expired ON refresh_families (expires_at);

CREATE TABLE api_keys (
    id           text NOT NULL PRIMARY KEY,
    user_id      text NOT NULL REFERENCES users (id),
    name         text NOT NULL,
    scopes       text NOT NULL, -- separated by spaces, as in RFC 6749
    secret_hash  blob NOT NULL,
    created_at   text NOT NULL,
    expires_at   text,
    last_used_at text,
    CONSTRAINT api_keys_name CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_keys_scopes CHECK (length(scopes) BETWEEN 1 AND 255),
    CONSTRAINT api_keys_secret CHECK (length(secret_hash) = 32),
    CONSTRAINT api_keys_expiry CHECK (expires_at > created_at)
);
CREATE INDEX api_keys_user ON api_keys (user_id, id);

CREATE TABLE sessions (
    id         text NOT NULL PRIMARY KEY,
    user_id    text NOT NULL REFERENCES users (id),
    token_hash blob NOT NULL,
    created_at text NOT NULL,
    seen_at    text NOT NULL,
    expires_at text NOT NULL,
    ip         text NOT NULL,
    user_agent text NOT NULL,
    CONSTRAINT sessions_token CHECK (length(token_hash) = 32),
    CONSTRAINT sessions_expiry CHECK (expires_at > created_at),
    CONSTRAINT sessions_origin CHECK (length(ip) <= 64 AND length(user_agent) <= 512)
);
CREATE UNIQUE INDEX sessions_token_key ON sessions (token_hash);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expired ON sessions (expires_at);
CREATE INDEX sessions_idle ON sessions (seen_at);

-- No foreign keys: an entry outlives what it speaks of.
CREATE TABLE audit_log (
    id         text NOT NULL PRIMARY KEY, -- UUIDv7: it sorts by time, and a time filter is a range of ids
    at         text NOT NULL,
    actor_id   text,
    actor      text NOT NULL,
    key_id     text,
    action     text NOT NULL,
    target     text NOT NULL,
    ip         text NOT NULL,
    user_agent text NOT NULL,
    request_id text NOT NULL,
    detail     text,
    CONSTRAINT audit_log_action CHECK (action LIKE '_%._%' AND length(action) <= 64),
    CONSTRAINT audit_log_lengths CHECK (length(actor) <= 254 AND length(target) <= 512 AND length(ip) <= 64 AND length(user_agent) <= 512
        AND length(request_id) <= 64)
);
CREATE INDEX audit_log_actor_id ON audit_log (actor_id, id);
CREATE INDEX audit_log_actor ON audit_log (actor, id);
CREATE INDEX audit_log_action_id ON audit_log (action, id);
