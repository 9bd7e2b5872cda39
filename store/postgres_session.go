package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// applicationName is how PostgreSQL tells the sessions that write jobs from all others (see
// settledBefore), whatever the URL says.
const applicationName = "waybill"

// defaults are settings of a session that the URL may change. What a role or a database prescribes
// is not used: an isolation level or a timeout that is meant for other programs breaks the ledger
// in ways that are hard to see.
var defaults = map[string]string{
	"search_path":                         `"$user", public`, // PostgreSQL's own
	"statement_timeout":                   "15s",             // a statement that takes longer is one that will not end
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "30s",
	"idle_session_timeout":                "0", // idle connections belong to the pool
	"plan_cache_mode":                     "auto",
}

// fixed are settings that the statements of this package, or the promise, rely on.
var fixed = map[string]string{
	"application_name":               applicationName,
	"client_encoding":                "UTF8",
	"timezone":                       "UTC",
	"datestyle":                      "ISO, MDY",
	"intervalstyle":                  "postgres",
	"bytea_output":                   "hex",
	"extra_float_digits":             "1",
	"standard_conforming_strings":    "on", // bun writes values into statements
	"array_nulls":                    "on",
	"transform_null_equals":          "off",
	"default_transaction_isolation":  "read committed",
	"default_transaction_deferrable": "off",
}

// hotSettings hold the hot writes to one plan, made once for each connection: for each element of
// the arrays a look-up by key. Left to itself, a planner whose statistics are of a moment when the
// queue was empty walks all open jobs for each flush instead. Without seqscans it would walk an
// index; so the statements say id = ANY (ARRAY[x]) for id = x, which is no order that a walk could
// follow and nothing to hash or merge by: the key is all that is left.
var hotSettings = map[string]string{"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

// sessions sets up the connections of one pool. Nothing of it travels in the startup message, where
// a pooler such as PgBouncer refuses what it does not know: everything is SET once the connection
// stands.
type sessions struct {
	statement string
	args      []any
	readOnly  *atomic.Bool // whether a connection was opened read-only; see usable
}

// newSessions makes sessions with the settings of the URL. Those in extra win over all others.
func newSessions(params, extra map[string]string, readOnly *atomic.Bool) (*sessions, error) {
	asked, err := urlSettings(params)
	if err != nil {
		return nil, err
	}
	settings := maps.Clone(defaults)
	for _, more := range []map[string]string{asked, fixed, extra} {
		maps.Copy(settings, more)
	}
	s := &sessions{readOnly: readOnly}
	var sets []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		s.args = append(s.args, name, settings[name])
		sets = append(sets, fmt.Sprintf("set_config($%d, $%d, false)", len(s.args)-1, len(s.args)))
	}
	for name, set := range conditional {
		if settings[name] == "" {
			sets = append(sets, set)
		}
	}
	s.statement = "SELECT array_length(ARRAY[" + strings.Join(
		sets,
		", ",
	) + "], 1), current_setting('transaction_read_only') = 'on'"
	return s, nil
}

// conditional are settings that depend on the server, unless the URL has them. An answer is a
// promise, so commits wait for the disk, and for replicas where the server says so; PostgreSQL 17
// and later limit transactions as a whole, which purges and migrations are not made for.
var conditional = map[string]string{
	"synchronous_commit": "CASE WHEN current_setting('synchronous_commit') = 'off' THEN " +
		"set_config('synchronous_commit', 'on', false) END",
	"transaction_timeout": "CASE WHEN current_setting('transaction_timeout', true) <> '0' THEN " +
		"set_config('transaction_timeout', '0', false) END",
}

// urlSettings are the settings that the database's URL names, by themselves or in its options.
func urlSettings(params map[string]string) (map[string]string, error) {
	settings, err := parseOptions(params["options"])
	if err != nil {
		return nil, err
	}
	for name, value := range params {
		if name = strings.ToLower(name); name != "options" && name != "replication" {
			settings[name] = value
		}
	}
	return settings, nil
}

// parseOptions reads the -c name=value pairs of the connection option "options".
func parseOptions(text string) (map[string]string, error) {
	settings := map[string]string{}
	for words := strings.Fields(text); len(words) > 0; words = words[1:] {
		word := words[0]
		if word == "-c" && len(words) > 1 {
			words = words[1:]
			word = "-c" + words[0]
		}
		pair, short := strings.CutPrefix(word, "-c")
		if !short {
			pair, short = strings.CutPrefix(word, "--")
		}
		name, value, ok := strings.Cut(pair, "=")
		if !short || !ok {
			return nil, fmt.Errorf("the database URL's options: want -c name=value, got %q", word)
		}
		settings[strings.ReplaceAll(strings.ToLower(name), "-", "_")] = strings.ReplaceAll(value, `\ `, " ")
	}
	return settings, nil
}

// sessionError is a connection that could not be set up. Whatever its SQLSTATE, it says nothing of
// the statement that wanted the connection.
type sessionError struct{ err error }

func (e *sessionError) Error() string { return "set up the session: " + e.err.Error() }
func (e *sessionError) Unwrap() error { return e.err }

// begin is for every new connection.
func (s *sessions) begin(ctx context.Context, c *pgx.Conn) error {
	takeColumns(c.TypeMap())
	readOnly, err := s.set(ctx, c)
	if err != nil {
		return &sessionError{err}
	}
	if readOnly {
		s.readOnly.Store(true)
		c.PgConn().CustomData()[readOnlySince] = time.Now()
	}
	return nil
}

func (s *sessions) set(ctx context.Context, c *pgx.Conn) (readOnly bool, err error) {
	if err := c.QueryRow(ctx, s.statement, append([]any{pgx.QueryExecModeExec}, s.args...)...).Scan(nil,
		&readOnly); err != nil ||
		!readOnly {
		return readOnly, err
	}
	if _, err := c.Exec(ctx, overrideRole); err != nil {
		return true, err
	}
	err = c.QueryRow(ctx, "SELECT current_setting('transaction_read_only') = 'on'", pgx.QueryExecModeExec).
		Scan(&readOnly)
	return readOnly, err
}

// overrideRole undoes default_transaction_read_only where it comes from the role. For the database
// or the whole server it is an operator's decision, and so it stays; a standby cannot be written to
// anyway.
const overrideRole = `
SELECT set_config('default_transaction_read_only', 'off', false) FROM pg_settings
WHERE name = 'default_transaction_read_only' AND source IN ('user', 'database user') AND NOT EXISTS (
	SELECT FROM pg_db_role_setting r JOIN pg_database d ON d.oid = r.setdatabase, unnest(r.setconfig) AS setting
	WHERE d.datname = current_database() AND r.setrole = 0 AND setting IN ('default_transaction_read_only=on', 'default_transaction_read_only=true'))`

// readOnlySince marks a connection that was opened read-only.
const readOnlySince = "waybill_read_only_since"

// readOnlyLife is how long such a connection is used. It bounds how long after the end of a
// read-only phase a pooled connection refuses writes.
const readOnlyLife = time.Second

// usable says whether a pooled connection may still be used.
func (s *sessions) usable(_ context.Context, c *pgx.Conn) (bool, error) {
	if !s.readOnly.Load() {
		return true, nil
	}
	since, marked := c.PgConn().CustomData()[readOnlySince].(time.Time)
	return !marked || time.Since(since) < readOnlyLife, nil
}

// generation is the name under which a connection keeps how often all connections had been replaced
// when it was opened.
const generation = "waybill_generation"

func (p *postgresEngine) nameSession(c *pgconn.PgConn) {
	c.CustomData()[generation] = p.replaced.Load()
}

// replace has every connection that is open closed, once it is idle. Of connections that fail for
// the same reason, the first does it for all.
func (p *postgresEngine) replace(c *pgconn.PgConn) {
	born, ok := c.CustomData()[generation].(int64)
	if !ok || !p.replaced.CompareAndSwap(born, born+1) {
		return
	}
	for _, pool := range []*pgxpool.Pool{p.pool, p.hot} {
		if pool != nil {
			pool.Reset()
		}
	}
}

// ready reports why jobs could not be written now: each pool has a session that may write, and the
// role may do what the hot writes do.
func (p *postgresEngine) ready(ctx context.Context) error {
	for _, pool := range []*pgxpool.Pool{p.hot, p.pool} {
		var readOnly, allowed bool
		err := pool.QueryRow(ctx, readySQL).Scan(&readOnly, &allowed)
		switch {
		case err != nil:
			return err
		case readOnly:
			return errReadOnly
		case !allowed:
			return errNotAllowed
		}
	}
	return nil
}

const readySQL = `
SELECT current_setting('transaction_read_only') = 'on', has_table_privilege('submissions', 'INSERT') AND has_table_privilege('outcomes', 'INSERT')
	AND has_table_privilege('open_jobs', 'INSERT') AND has_table_privilege('open_jobs', 'UPDATE') AND has_table_privilege('open_jobs', 'DELETE')`

// connsNeeded names the connections that a process may open, for those who set up a pooler.
func (p *postgresEngine) connsNeeded() string {
	return strconv.Itoa(int(p.pool.Config().MaxConns + p.hot.Config().MaxConns))
}
