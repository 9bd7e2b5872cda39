package obs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/obs"
)

func TestWhatIsNamedLikeASecretIsHidden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"password", "new_password", "PasswordHash", "secret", "webhook_secret", "Authorization", "api_key",
		"access-token",
		"refreshToken", "key", "Set-Cookie", "client.secret", "api key/", "KEY", "tls__key_", "JWT", "userPassword",
	} {
		for _, format := range []string{"json", "text"} {
			var out bytes.Buffer
			log := obs.Logger(&out, slog.LevelInfo, format)
			log.Info("tried", name, "hunter2")
			log.With(name, []byte("hunter2")).Info("tried")
			log.Info("tried", slog.Group("in", name, "hunter2"), slog.Group(name, "value", "hunter2"))
			log.WithGroup(name).Info("tried", "value", errors.New("hunter2"))
			log.WithGroup(name).Info("tried", "value", "hunter2")
			log.WithGroup("in").With("n", 1).Info("tried", "m", 2, name, "hunter2")
			log.With("url", "http://u:hunter2@h").With("n", 1).WithGroup("in").Info("tried", "m", 2)
			log.Info("tried", "who", reveals(name))
			log.Info("tried", name, "hunter2", "n", 1)
			log.Info("tried", "n", 1, "url", "http://u:hunter2@h", "f", 1e30)
			if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), "aHVudGVyMg") {
				t.Errorf("%s as %s shows in the log:\n%s", name, format, &out)
			}
		}
	}
}

func TestWhatOnlySoundsLikeASecretIsShown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	obs.Logger(&out, slog.LevelInfo, "json").
		Info("signed", "key_id", "k1", "token_type", "bearer", "tokens", 12, "monkey", "ape", "job_id", "j")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"key_id": "k1", "token_type": "bearer", "tokens": 12.0, "monkey": "ape",
		"job_id": "j"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
}

func TestPasswordsInURLsAreHidden(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"dial postgres://app:hunter2@db:5432/x: refused":       "dial postgres://[hidden]@db:5432/x: refused",
		"redis://:hunter2@r:6379":                              "redis://[hidden]@r:6379",
		"redis+sentinel://:hun@ter2@a:1,b:2/main":              "redis+sentinel://[hidden]@a:1,b:2/main",
		"http://a.example:80/x and http://u:hunter2@b.example": "http://a.example:80/x and http://[hidden]@b.example",
		"https://example.com/?mail=me@example.com":             "https://example.com/?mail=me@example.com",
	} {
		for _, value := range []any{text, errors.New(text), slog.StringValue(text)} {
			var out bytes.Buffer
			obs.Logger(&out, slog.LevelInfo, "json").Info("failed", "err", value)
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if line["err"] != want {
				t.Errorf("%T: got %q, want %q", value, line["err"], want)
			}
		}
	}
}

func TestRecordsBelowTheLevelAreNotWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	obs.Logger(&out, slog.LevelWarn, "text").Info("quiet")
	if out.Len() > 0 {
		t.Errorf("wrote %q", &out)
	}
}

// reveals is a value that says what it is when it is asked.
type reveals string

func (r reveals) LogValue() slog.Value { return slog.GroupValue(slog.String(string(r), "hunter2")) }

// BenchmarkLog is a line such as each request writes.
func BenchmarkLog(b *testing.B) {
	for _, format := range []string{"json", "text"} {
		b.Run(format, func(b *testing.B) {
			log := obs.Logger(io.Discard, slog.LevelInfo, format)
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(
					b.Context(),
					slog.LevelInfo,
					"request",
					slog.String("method", "POST"),
					slog.String("route", "/v1/jobs"),
					slog.String("path", "/v1/jobs"),
					slog.Int(
						"status",
						202,
					),
					slog.Int("bytes", 800),
					slog.Float64("duration_ms", 0.123),
					slog.String("ip", "192.0.2.1"),
					slog.String(
						"request_id",
						"018f0000-0000-7000-8000-0123456789ab",
					),
					slog.String("user_id", "018f0000-0000-7000-8000-0123456789ab"),
				)
			}
		})
	}
}
