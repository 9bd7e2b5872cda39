DROP INDEX audit_log_target_id;
DROP TABLE password_resets;
ALTER TABLE refresh_families DROP COLUMN last_used_at;
ALTER TABLE refresh_families DROP COLUMN ip;
ALTER TABLE refresh_families DROP COLUMN user_agent;
ALTER TABLE users DROP COLUMN password_change_required;
