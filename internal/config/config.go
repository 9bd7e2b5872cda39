// Package config reads the environment, which no other package does, into one struct. A wrong value
// stops the start, with every mistake named at once and no secret among the words.
package config

import (
	"log/slog"
	"time"
)

// Config is what a deployment decides, with the variable and the default of each value beside it.
// An empty variable counts as one that is not set. docs/configuration.md explains each; a test
// holds it to this list.
type Config struct {
	DatabaseURL      Secret `env:"DATABASE_URL"` // postgres://… or sqlite:PATH
	DatabaseMaxConns int    `env:"WAYBILL_DATABASE_MAX_CONNS" envDefault:"20"`
	RedisURL         Secret `env:"REDIS_URL"` // one of the schemes in redisSchemes; package dispatch reads the rest

	MaxOpenJobs int `env:"WAYBILL_MAX_OPEN_JOBS" envDefault:"2000000"` // jobs of one user that are not finished

	LogLevel  slog.Level `env:"WAYBILL_LOG_LEVEL" envDefault:"info"`
	LogFormat string     `env:"WAYBILL_LOG_FORMAT" envDefault:"json"` // json, text

	// Where spans are sent; the second wins and is taken as it stands. Both empty: nowhere.
	OTLPEndpoint       BaseURL `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	OTLPTracesEndpoint BaseURL `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	OTLPHeaders        Headers `env:"OTEL_EXPORTER_OTLP_HEADERS"`

	Addr          string  `env:"WAYBILL_ADDR" envDefault:":8080"`
	PublicURL     BaseURL `env:"WAYBILL_PUBLIC_URL"`     // where clients reach the API; empty: not known
	JWTKeys       Keys    `env:"WAYBILL_JWT_KEYS"`       // the first signs, all verify
	PrometheusURL BaseURL `env:"WAYBILL_PROMETHEUS_URL"` // for the monitor's metrics page; empty: it has none
	Registration  string  `env:"WAYBILL_REGISTRATION" envDefault:"closed"`
	// SignInTTL is the absolute life of a sign-in, however often its refresh token is used.
	SignInTTL      time.Duration `env:"WAYBILL_SIGN_IN_TTL" envDefault:"720h"`
	AuditRetention time.Duration `env:"WAYBILL_AUDIT_RETENTION" envDefault:"9600h"` // of the audit log; 0: for ever
	TrustedProxies Networks      `env:"WAYBILL_TRUSTED_PROXIES"`                    // whose X-Forwarded-For is believed
	CORSOrigins    Origins       `env:"WAYBILL_CORS_ORIGINS"`
	// Jobs submitted per user and API process.
	RatePerSecond float64 `env:"WAYBILL_RATE_PER_SECOND" envDefault:"20000"`
	MaxBody       int64   `env:"WAYBILL_MAX_BODY_BYTES" envDefault:"1048576"`
	MaxBatchBody  int64   `env:"WAYBILL_MAX_BATCH_BODY_BYTES" envDefault:"33554432"`
	// Of all large bodies and answers at once.
	BodyMemory int64 `env:"WAYBILL_BODY_MEMORY_BYTES" envDefault:"100663296"`
	// Connections to one API process.
	MaxConns  int `env:"WAYBILL_MAX_CONNS" envDefault:"12000"`
	PeerConns int `env:"WAYBILL_PEER_CONNS" envDefault:"4096"` // connections of one address
	// Requests that one address has begun and not sent whole.
	PeerRequests int `env:"WAYBILL_PEER_REQUESTS" envDefault:"1024"`
	// Requests that wait for a job; one address may have a fifth.
	MaxWaiting int `env:"WAYBILL_MAX_WAITING" envDefault:"10000"`
	// MinScheduleInterval is the shortest time that may lie between two planned times of a
	// schedule.
	MinScheduleInterval time.Duration `env:"WAYBILL_MIN_SCHEDULE_INTERVAL" envDefault:"1s"`

	Queues        Queues        `env:"WAYBILL_QUEUES" envDefault:"critical=6,default=3,low=1"`
	Concurrency   int           `env:"WAYBILL_CONCURRENCY" envDefault:"256"` // jobs at once in one worker process
	MetricsAddr   string        `env:"WAYBILL_METRICS_ADDR" envDefault:":9464"`
	ShutdownGrace time.Duration `env:"WAYBILL_SHUTDOWN_GRACE" envDefault:"30s"`
	// How long a handler may go on after its context ended.
	CancelGrace time.Duration `env:"WAYBILL_CANCEL_GRACE" envDefault:"5s"`
	Retention   time.Duration `env:"WAYBILL_RETENTION" envDefault:"720h"` // of finished jobs; 0: for ever

	// Private networks that http.request may reach all the same.
	HTTPAllow Networks `env:"WAYBILL_HTTP_ALLOW"`
	// Signs http.request; empty: only payloads that bring their own are signed.
	WebhookSecret Secret      `env:"WAYBILL_WEBHOOK_SECRET"`
	Commands      Commands    `env:"WAYBILL_COMMANDS"`     // what command.run may run; empty: the type is off
	CommandEnv    CommandEnv  `env:"WAYBILL_COMMAND_ENV"`  // which variables its jobs may set for each; empty: none
	CommandUser   CommandUser `env:"WAYBILL_COMMAND_USER"` // who runs them; empty: the worker's user

	SMTPAddr     string `env:"WAYBILL_SMTP_ADDR"` // empty: email.send is off
	SMTPUsername string `env:"WAYBILL_SMTP_USERNAME"`
	SMTPPassword Secret `env:"WAYBILL_SMTP_PASSWORD"`
	SMTPFrom     string `env:"WAYBILL_SMTP_FROM"`
	SMTPHELO     string `env:"WAYBILL_SMTP_HELO"`                      // what EHLO says; empty: the sender's domain
	SMTPTLS      string `env:"WAYBILL_SMTP_TLS" envDefault:"starttls"` // starttls, implicit, none
	SMTPCAFile   string `env:"WAYBILL_SMTP_CA_FILE"`                   // PEM; empty: the system's authorities
}

// RegistrationOpen reports whether strangers may make an account.
func (c Config) RegistrationOpen() bool { return c.Registration == "open" }

// inFile lists the variables that NAME_FILE may stand for: the path of a file that holds the value,
// as Docker and Kubernetes hand out secrets.
func inFile() []string {
	return []string{"DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS", "WAYBILL_SMTP_PASSWORD", "WAYBILL_WEBHOOK_SECRET"}
}
