package config

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The schemes of REDIS_URL.
const redisSchemes = "redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster"

// problems collects what is wrong, one line for each variable: the first that was found, since
// later ones follow from it.
type problems struct{ found map[string]string }

func (m *problems) add(variable, format string, args ...any) {
	if m.found == nil {
		m.found = make(map[string]string)
	}
	if m.found[variable] == "" {
		m.found[variable] = fmt.Sprintf(format, args...)
	}
}

func (m *problems) has(variable string) bool { return m.found[variable] != "" }

// err is nil or an *Error.
func (m *problems) err() error {
	if len(m.found) == 0 {
		return nil
	}
	e := new(Error)
	for variable, what := range m.found {
		e.Mistakes = append(e.Mistakes, Mistake{Variable: variable, What: what})
	}
	slices.SortFunc(e.Mistakes, func(a, b Mistake) int { return cmp.Compare(a.Variable, b.Variable) })
	return e
}

// Error is all that is wrong with a configuration.
type Error struct{ Mistakes []Mistake }

// Mistake is what is wrong with one variable.
type Mistake struct{ Variable, What string }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("configuration:")
	for _, m := range e.Mistakes {
		fmt.Fprintf(&b, "\n  %s: %s", m.Variable, m.What)
	}
	return b.String()
}

// Validate checks a configuration that a program changed after Parse, which has done so itself.
// Lists (queues, keys, networks, origins, commands) are checked where they are read. The error is
// an *Error.
func (c Config) Validate() error {
	m := new(problems)
	c.check(m)
	return m.err()
}

func (c Config) check(m *problems) {
	checkDatabaseURL(m, c.DatabaseURL.Reveal())
	checkRedisURL(m, c.RedisURL.Reveal())
	checkWebhookSecret(m, c.WebhookSecret.Reveal())
	c.checkCommands(m)
	checkAddr(m, "WAYBILL_ADDR", c.Addr)
	checkAddr(m, "WAYBILL_METRICS_ADDR", c.MetricsAddr)
	checkPublicURL(m, c.PublicURL)
	oneOf(m, "WAYBILL_LOG_FORMAT", c.LogFormat, "json", "text")
	oneOf(m, "WAYBILL_REGISTRATION", c.Registration, "open", "closed")
	between(m, "WAYBILL_DATABASE_MAX_CONNS", c.DatabaseMaxConns, 1, 10_000)
	between(m, "WAYBILL_CONCURRENCY", c.Concurrency, 1, 10_000)
	between(m, "WAYBILL_RATE_PER_SECOND", c.RatePerSecond, 0.001, 1e9)
	between(m, "WAYBILL_MAX_OPEN_JOBS", c.MaxOpenJobs, 1, 1_000_000_000)
	between(m, "WAYBILL_MAX_BODY_BYTES", c.MaxBody, 1<<10, 64<<20)
	between(m, "WAYBILL_MAX_BATCH_BODY_BYTES", c.MaxBatchBody, 1<<10, 1<<30)
	between(m, "WAYBILL_BODY_MEMORY_BYTES", c.BodyMemory, 1<<20, 1<<40)
	between(m, "WAYBILL_MAX_CONNS", c.MaxConns, 64, 1_000_000)
	between(m, "WAYBILL_PEER_CONNS", c.PeerConns, 1, 1_000_000)
	between(m, "WAYBILL_PEER_REQUESTS", c.PeerRequests, 1, 1_000_000)
	between(m, "WAYBILL_MAX_WAITING", c.MaxWaiting, 1, 1_000_000)
	between(m, "WAYBILL_MIN_SCHEDULE_INTERVAL", c.MinScheduleInterval, time.Second, 24*time.Hour)
	between(m, "WAYBILL_SHUTDOWN_GRACE", c.ShutdownGrace, time.Second, time.Hour)
	between(m, "WAYBILL_CANCEL_GRACE", c.CancelGrace, 0, time.Hour)
	if c.Retention != 0 {
		between(m, "WAYBILL_RETENTION", c.Retention, time.Minute, 100*365*24*time.Hour)
	}
	between(m, "WAYBILL_SIGN_IN_TTL", c.SignInTTL, time.Hour, 10*365*24*time.Hour)
	if c.AuditRetention != 0 {
		between(m, "WAYBILL_AUDIT_RETENTION", c.AuditRetention, 24*time.Hour, 100*365*24*time.Hour)
	}
	if c.CancelGrace > c.ShutdownGrace && !m.has("WAYBILL_SHUTDOWN_GRACE") {
		m.add("WAYBILL_CANCEL_GRACE", "want no more than WAYBILL_SHUTDOWN_GRACE, %v", c.ShutdownGrace)
	}
	c.checkSMTP(m)
}

func (c Config) checkCommands(m *problems) {
	for _, name := range slices.Sorted(maps.Keys(c.CommandEnv)) {
		if c.Commands[name] == "" {
			m.add("WAYBILL_COMMAND_ENV", "names the command %q, which WAYBILL_COMMANDS does not", name)
		}
	}
	if c.CommandUser.Set && len(c.Commands) == 0 {
		m.add("WAYBILL_COMMAND_USER", "set, but WAYBILL_COMMANDS is not")
	}
}

func (c Config) checkSMTP(m *problems) {
	oneOf(m, "WAYBILL_SMTP_TLS", c.SMTPTLS, "starttls", "implicit", "none")
	if c.SMTPAddr == "" {
		for name, set := range map[string]bool{
			"WAYBILL_SMTP_USERNAME": c.SMTPUsername != "", "WAYBILL_SMTP_PASSWORD": c.SMTPPassword.IsSet(),
			"WAYBILL_SMTP_FROM": c.SMTPFrom != "", "WAYBILL_SMTP_CA_FILE": c.SMTPCAFile != "",
			"WAYBILL_SMTP_HELO": c.SMTPHELO != "",
		} {
			if set {
				m.add(name, "set, but WAYBILL_SMTP_ADDR is not")
			}
		}
		return
	}
	checkAddr(m, "WAYBILL_SMTP_ADDR", c.SMTPAddr)
	if host, _, err := net.SplitHostPort(c.SMTPAddr); err == nil && host == "" {
		m.add("WAYBILL_SMTP_ADDR", "want host:port")
	}
	if _, err := mail.ParseAddress(c.SMTPFrom); err != nil {
		m.add(
			"WAYBILL_SMTP_FROM",
			"want an address like jobs@example.com or Jobs <jobs@example.com>, got %q",
			c.SMTPFrom,
		)
	}
	if (c.SMTPUsername == "") == c.SMTPPassword.IsSet() {
		m.add("WAYBILL_SMTP_PASSWORD", "want it together with WAYBILL_SMTP_USERNAME, or neither")
	}
	if c.SMTPTLS == "none" && c.SMTPPassword.IsSet() {
		m.add("WAYBILL_SMTP_TLS", "with none, the password would travel in clear: want starttls or implicit")
	}
}

// checkDatabaseURL repeats nothing of the URL, not even the parser's error: a password may be in
// it.
func checkDatabaseURL(m *problems, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		m.add("DATABASE_URL", "not a URL (special characters of a password must be percent-encoded)")
	case u.Scheme == "sqlite" && strings.TrimPrefix(text, "sqlite:") != "":
	case (u.Scheme == "postgres" || u.Scheme == "postgresql") && (u.Host != "" || u.Query().Get("host") != ""):
	default:
		m.add("DATABASE_URL", "want postgres://user:password@host:5432/database or sqlite:PATH")
	}
}

func checkRedisURL(m *problems, text string) {
	if text == "" {
		return
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || rest == "" || !slices.Contains(strings.Split(redisSchemes, ", "), scheme) {
		m.add("REDIS_URL", "want SCHEME://… with one of %s", redisSchemes)
	}
}

// checkWebhookSecret holds each to Standard Webhooks: "whsec_" and 24 to 64 random bytes in base64.
func checkWebhookSecret(m *problems, text string) {
	if text == "" {
		return
	}
	for secret := range strings.SplitSeq(text, ",") {
		encoded, ok := strings.CutPrefix(strings.TrimSpace(secret), "whsec_")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(raw) < 24 || len(raw) > 64 {
			m.add("WAYBILL_WEBHOOK_SECRET", "want whsec_ and 24 to 64 bytes in base64; while it is replaced NEW,OLD")
			return
		}
	}
}

func checkAddr(m *problems, variable, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || n < 0 || n > 65_535 {
		m.add(variable, "want host:port or :port, got %q", addr)
	}
}

func oneOf(m *problems, variable, got string, allowed ...string) {
	if !slices.Contains(allowed, got) {
		m.add(variable, "want %s, got %q", strings.Join(allowed, " or "), got)
	}
}

func between[N int | int64 | float64 | time.Duration](m *problems, variable string, got, least, most N) {
	if !(got >= least && got <= most) { // so that NaN is refused as well
		m.add(variable, "want %v to %v, got %v", least, most, got)
	}
}
