DROP TABLE audit_log;
DROP TABLE sessions;
DROP TABLE api_keys;
DROP TABLE refresh_families;
DROP TABLE admin_guard;
DROP TABLE users;
