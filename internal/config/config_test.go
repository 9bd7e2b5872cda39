package config_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/config"
)

// A key of 32 bytes and a webhook secret of 24 in base64.
const (
	keyText     = "k1:c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="
	webhookText = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIz"
)

// mistakes of an environment, by variable.
func TestSigningKeysThatCanBeGuessedAreRefused(t *testing.T) {
	t.Parallel()
	counting := make([]byte, 32)
	for i := range counting {
		counting[i] = byte(i)
	}
	for name, key := range map[string][]byte{
		"zeros": make([]byte, 32), "one byte": bytes.Repeat([]byte{0xa5}, 64),
		"four bytes":     bytes.Repeat([]byte("abcd"), 8),
		"twice the same": bytes.Repeat([]byte("0123456789abcdef"), 2), "counting": counting,
		"few values": append(bytes.Repeat([]byte{0}, 27), 1, 2, 3, 4, 5),
	} {
		encoded := base64.StdEncoding.EncodeToString(key)
		_, err := config.Parse([]string{"WAYBILL_JWT_KEYS=k1:" + encoded})
		if err == nil || !strings.Contains(err.Error(), "WAYBILL_JWT_KEYS: key 1: want random bytes") ||
			strings.Contains(err.Error(), encoded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 1000 {
		key := make([]byte, config.MinKey)
		_, _ = rand.Read(key)
		if _, err := config.Parse([]string{"WAYBILL_JWT_KEYS=k1:" +
			base64.StdEncoding.EncodeToString(key)}); err != nil {
			t.Fatalf("a random key is refused: %v", err)
		}
	}
}

func problems(t *testing.T, environ []string, required ...string) map[string]string {
	t.Helper()
	_, err := config.Parse(environ, required...)
	if err == nil {
		return nil
	}
	var all *config.Error
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want a *config.Error", err)
	}
	found := make(map[string]string)
	for _, m := range all.Mistakes {
		found[m.Variable] = m.What
	}
	return found
}

func TestAnEmptyEnvironmentGivesTheDefaults(t *testing.T) {
	t.Parallel()
	c, err := config.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		DatabaseMaxConns: 20, LogFormat: "json", Addr: ":8080", Registration: "closed", SignInTTL: 720 * time.Hour,
		AuditRetention: 9600 * time.Hour, RatePerSecond: 20_000,
		MaxOpenJobs: 2_000_000, MaxBody: 1 << 20, MaxBatchBody: 32 << 20, MinScheduleInterval: time.Second,
		Queues: config.Queues{
			{Name: "critical", Weight: 6},
			{Name: "default", Weight: 3},
			{Name: "low", Weight: 1},
		},
		Concurrency: 256, MetricsAddr: ":9464", ShutdownGrace: 30 * time.Second, CancelGrace: 5 * time.Second,
		Retention: 720 * time.Hour, SMTPTLS: "starttls", BodyMemory: 96 << 20, MaxWaiting: 10_000,
		PeerConns: 4096, PeerRequests: 1024, MaxConns: 12_000,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestEveryValueIsRead(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]string{
		"DATABASE_URL=postgres://app:p%40ss@db:5432/waybill", "WAYBILL_DATABASE_MAX_CONNS=7",
		"REDIS_URL=redis+sentinel://:x@a:1,b:2/main",
		"WAYBILL_LOG_LEVEL=debug", "WAYBILL_LOG_FORMAT=text", "WAYBILL_ADDR=127.0.0.1:0",
		"WAYBILL_PUBLIC_URL=https://jobs.example.com/",
		"WAYBILL_JWT_KEYS=" + keyText, "WAYBILL_REGISTRATION=open", "WAYBILL_TRUSTED_PROXIES=10.0.0.0/8, ::1",
		"WAYBILL_CORS_ORIGINS=https://app.example.com,http://localhost:3000", "WAYBILL_QUEUES=b=2,a=100",
		"WAYBILL_RETENTION=0",
		"WAYBILL_WEBHOOK_SECRET=" + webhookText, "WAYBILL_COMMANDS=backup=/usr/bin/pg_dump",
		"WAYBILL_COMMAND_ENV=backup=PGHOST|PGPORT",
		"WAYBILL_COMMAND_USER=65534:100", "WAYBILL_SMTP_HELO=mx.example.com", "WAYBILL_SMTP_ADDR=mail:587",
		"WAYBILL_SMTP_USERNAME=u", "WAYBILL_SMTP_PASSWORD=p", "WAYBILL_SMTP_FROM=Jobs <jobs@example.com>",
		"PATH=/bin", "WAYBILL_TEST_DATABASE_URL=x", "WAYBILL_API_PORT_8080_TCP_ADDR=10.0.0.1",
		"WAYBILL_PORT=tcp://10.0.0.1:80", "NOVALUE",
	}, "DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS")
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"database": {c.DatabaseURL.Reveal(), "postgres://app:p%40ss@db:5432/waybill"},
		"redis":    {c.RedisURL.Reveal(), "redis+sentinel://:x@a:1,b:2/main"},
		"conns":    {c.DatabaseMaxConns, 7},
		"level":    {c.LogLevel, slog.LevelDebug},
		"public":   {c.PublicURL, config.BaseURL("https://jobs.example.com")},
		"kid":      {c.JWTKeys[0].ID, "k1"},
		"key":      {c.JWTKeys[0].Secret.Reveal(), "secret-secret-secret-secret-1234"},
		"open":     {c.RegistrationOpen(), true},
		"proxies": {c.TrustedProxies, config.Networks{netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("::1/128")}},
		"origins":  {c.CORSOrigins, config.Origins{"https://app.example.com", "http://localhost:3000"}},
		"names":    {c.Queues.Names(), []string{"b", "a"}},
		"weights":  {c.Queues.Weights(), map[string]int{"a": 100, "b": 2}},
		"commands": {c.Commands, config.Commands{"backup": "/usr/bin/pg_dump"}},
		"env":      {c.CommandEnv, config.CommandEnv{"backup": {"PGHOST", "PGPORT"}}},
		"user":     {c.CommandUser, config.CommandUser{UID: 65534, GID: 100, Set: true}},
		"helo":     {c.SMTPHELO, "mx.example.com"},
		"for ever": {c.Retention, time.Duration(0)},
		"mail":     {c.SMTPPassword.Reveal(), "p"},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %#v, want %#v", what, pair[0], pair[1])
		}
	}
}

func TestAllMistakesAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Parse([]string{
		"WAYBILL_CONCURRENCY=many", "WAYBILL_QUEUES=a=0", "WAYBILL_QUEUE=a=1", "WAYBILL_SHUTDOWN_GRACE=30",
		"WAYBILL_LOG_LEVEL=loud",
	}, "DATABASE_URL")
	want := `configuration:
  DATABASE_URL: required, but not set
  WAYBILL_CONCURRENCY: want a whole number
  WAYBILL_LOG_LEVEL: want debug, info, warn or error
  WAYBILL_QUEUE: no such variable; docs/configuration.md lists them all
  WAYBILL_QUEUES: want NAME=WEIGHT,…: names of 1 to 63 of a-z, 0-9, _ and -, weights 1 to 100; got "a=0"
  WAYBILL_SHUTDOWN_GRACE: want a duration like 90s, 5m or 24h`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	t.Parallel()
	for variable, values := range map[string][]string{
		"DATABASE_URL": {"mysql://x", "postgres://", "postgres:x", "sqlite:", "x",
			"postgres://u:p%zz@h/d"},
		"REDIS_URL":            {"localhost:6379", "http://x", "redis://", "redis+sentinel:x"},
		"WAYBILL_ADDR":         {"8080", ":x", ":65536", ":-1", "a:b:c"},
		"WAYBILL_METRICS_ADDR": {"9464"},
		"WAYBILL_JWT_KEYS": {"k1", "k1:c2hvcnQ=", keyText + ",", keyText + "," + keyText, "k 1" +
			keyText[2:], "k1:!!!", ":" + keyText[3:]},
		"WAYBILL_QUEUES": {"a", "a=", "a=101", "a=-1", "A=1", "a=1,a=2", "a=1,", "-a=1", "a b=1", "é=1",
			strings.Repeat("a", 64) + "=1", "a=1.5"},
		"WAYBILL_CONCURRENCY":  {"0", "10001", "1.5", "0x10", "9999999999999999999"},
		"WAYBILL_REGISTRATION": {"yes", "OPEN"},
		"WAYBILL_LOG_FORMAT":   {"xml"},
		"WAYBILL_HTTP_ALLOW": {"10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "fe80::1%eth0",
			"::ffff:10.0.0.0/104"},
		"WAYBILL_TRUSTED_PROXIES": {"*"},
		"WAYBILL_CORS_ORIGINS": {"*", "null", "https://a/", "https://a/b", "HTTPS://a", "ftp://a",
			"https://*.a", "https://u@a"},
		"WAYBILL_PUBLIC_URL": {"jobs.example.com", "ftp://a", "https://u:p@a", "https://a?b", "https://a#b",
			"https://"},
		"WAYBILL_WEBHOOK_SECRET": {webhookText[6:], "whsec_", "whsec_c2hvcnQ=", "whsec_!" + webhookText[7:],
			"whsec_" + strings.Repeat("AAAA", 22), webhookText + ",", webhookText + " " + webhookText},
		"WAYBILL_COMMANDS":             {"a", "a=rel", "a=/x/../y", "a=/x,a=/y", "A=/x", "a=/x,"},
		"WAYBILL_COMMAND_ENV":          {"a", "a=", "a=B", "a=B|", "a=B|B", "a=B,a=C", "a=B C", "A=B"},
		"WAYBILL_COMMAND_USER":         {"nobody", "-1", "65534", "1:x", "4294967295", "1:2:3"},
		"WAYBILL_SMTP_HELO":            {"mail.example.com"},
		"WAYBILL_SHUTDOWN_GRACE":       {"0", "2h", "-1s"},
		"WAYBILL_CANCEL_GRACE":         {"-1s", "31s"},
		"WAYBILL_RETENTION":            {"-1h", "1s"},
		"WAYBILL_RATE_PER_SECOND":      {"0", "-1", "NaN", "Inf"},
		"WAYBILL_MAX_OPEN_JOBS":        {"0"},
		"WAYBILL_MAX_BODY_BYTES":       {"1023", "1MB"},
		"WAYBILL_MAX_BATCH_BODY_BYTES": {"0"},
		"WAYBILL_DATABASE_MAX_CONNS":   {"0"},
		"WAYBILL_SMTP_TLS":             {"off"},
		"WAYBILL_SMTP_USERNAME":        {"u"},
		"WAYBILL_SMTP_PASSWORD":        {"p"},
		"WAYBILL_SMTP_FROM":            {"a@b.example"},
		"WAYBILL_SMTP_CA_FILE":         {"/x"},
	} {
		for _, value := range values {
			found := problems(t, []string{variable + "=" + value})
			if found[variable] == "" || len(found) != 1 {
				t.Errorf("%s=%s: got %v, want a mistake of that variable alone", variable, value, found)
			}
		}
	}
}

func TestSMTPSettingsMustFitTogether(t *testing.T) {
	t.Parallel()
	const addr, from = "WAYBILL_SMTP_ADDR=mail:587", "WAYBILL_SMTP_FROM=jobs@example.com"
	for _, c := range []struct {
		wrong   string
		environ []string
	}{
		{"", []string{addr, from}},
		{"", []string{addr, from, "WAYBILL_SMTP_TLS=none"}},
		{"WAYBILL_SMTP_ADDR", []string{"WAYBILL_SMTP_ADDR=:25", from}},
		{"WAYBILL_SMTP_FROM", []string{addr}},
		{"WAYBILL_SMTP_FROM", []string{addr, "WAYBILL_SMTP_FROM=jobs"}},
		{"WAYBILL_SMTP_PASSWORD", []string{addr, from, "WAYBILL_SMTP_USERNAME=u"}},
		{"WAYBILL_SMTP_PASSWORD", []string{addr, from, "WAYBILL_SMTP_PASSWORD=p"}},
		{"WAYBILL_SMTP_TLS", []string{addr, from, "WAYBILL_SMTP_USERNAME=u", "WAYBILL_SMTP_PASSWORD=p",
			"WAYBILL_SMTP_TLS=none"}},
	} {
		found := problems(t, c.environ)
		if c.wrong == "" && found != nil || c.wrong != "" && (found[c.wrong] == "" || len(found) != 1) {
			t.Errorf("%v: got %v, want a mistake of %q alone", c.environ, found, c.wrong)
		}
	}
}

func TestASecretMayComeFromAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, empty := write("good", keyText+"\r\n"), write("empty", "\n")
	large, bad := write("large", strings.Repeat("x", 64<<10+1)), write("bad", "k1:hunter2")
	c, err := config.Parse([]string{"WAYBILL_JWT_KEYS_FILE=" + good}, "WAYBILL_JWT_KEYS")
	if err != nil || len(c.JWTKeys) != 1 {
		t.Errorf("got %v, %v, want one key", c.JWTKeys, err)
	}
	for _, environ := range [][]string{
		{"WAYBILL_JWT_KEYS_FILE=" + empty}, {"WAYBILL_JWT_KEYS_FILE=" + large}, {"WAYBILL_JWT_KEYS_FILE=" + bad},
		{"WAYBILL_JWT_KEYS_FILE=" + filepath.Join(dir, "missing")}, {"WAYBILL_JWT_KEYS_FILE=" + dir},
		{"WAYBILL_JWT_KEYS_FILE=" + good, "WAYBILL_JWT_KEYS=" + keyText},
	} {
		found := problems(t, environ, "WAYBILL_JWT_KEYS")
		if found["WAYBILL_JWT_KEYS"] == "" || len(found) != 1 ||
			strings.Contains(found["WAYBILL_JWT_KEYS"], "hunter2") {
			t.Errorf("%v: got %v", environ, found)
		}
	}
	if found := problems(t, []string{"WAYBILL_ADDR_FILE=" + good}); found["WAYBILL_ADDR_FILE"] == "" {
		t.Errorf("a file for what is no secret: got %v, want it refused", found)
	}
}

func TestMistakesTellNoSecret(t *testing.T) {
	t.Parallel()
	found := problems(t, []string{
		"DATABASE_URL=postgres://app:hunter2%zz@db/x", "REDIS_URL=http://:hunter2@r",
		"WAYBILL_JWT_KEYS=hunter2:x,hunter2",
		"WAYBILL_WEBHOOK_SECRET=hunter2", "WAYBILL_PUBLIC_URL=https://u:hunter2@a", "WAYBILL_SMTP_PASSWORD=hunter2",
	})
	if len(found) != 6 || strings.Contains(strings.Join(values(found), "\n"), "hunter2") {
		t.Errorf("got %v, want 6 mistakes without the secret", found)
	}
}

func TestAConfigurationCanBeShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]string{"DATABASE_URL=postgres://app:hunter2@db/x", "WAYBILL_JWT_KEYS=" + keyText})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configured", "config", c, "url", c.DatabaseURL)
	for _, shown := range append(printed(c), string(text), log.String()) {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "secret-secret") {
			t.Errorf("a secret shows in %s", shown)
		}
	}
}

func TestAChangedConfigurationCanBeChecked(t *testing.T) {
	t.Parallel()
	c, err := config.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.DatabaseURL = config.NewSecret("sqlite:/tmp/x.db")
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Concurrency = 0
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "WAYBILL_CONCURRENCY") {
		t.Errorf("got %v, want the wrong value named", err)
	}
}

func values(m map[string]string) []string {
	var all []string
	for _, v := range m {
		all = append(all, v)
	}
	return all
}
