-- waybill: additive
-- A password that an administrator set must be changed at the next sign-in. null: it need not.
ALTER TABLE users ADD COLUMN password_change_required boolean;

-- Where a sign-in was made or last renewed, for the list of one's own sign-ins.
ALTER TABLE refresh_families ADD COLUMN last_used_at text; -- null: not since it was made
ALTER TABLE refresh_families ADD COLUMN ip text CHECK (length(ip) <= 64);
ALTER TABLE refresh_families ADD COLUMN user_agent text CHECK (length(user_agent) <= 512);

-- One row a user: a new request takes the place of the one before it. The token itself is only in the e-mail.
CREATE TABLE password_resets (
    user_id    text NOT NULL PRIMARY KEY REFERENCES users (id),
    token_hash blob NOT NULL,
    created_at text NOT NULL,
    expires_at text NOT NULL,
    CONSTRAINT password_resets_token CHECK (length(token_hash) = 32),
    CONSTRAINT password_resets_expiry CHECK (expires_at > created_at)
);
CREATE UNIQUE INDEX password_resets_token_key ON password_resets (token_hash);
CREATE INDEX password_resets_expired ON password_resets (expires_at);

CREATE INDEX audit_log_target_id ON audit_log (target, id);
