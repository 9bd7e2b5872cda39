package obs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/obs"
)

func TestWhatIsNamedLikeASecretIsHidden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"password", "new_password", "PasswordHash", "secret", "webhook_secret", "Authorization", "api_key", "access-token",
		"refreshToken", "key", "Set-Cookie", "client.secret",
	} {
		for _, format := range []string{"json", "text"} {
			var out bytes.Buffer
			log := obs.Logger(&out, slog.LevelInfo, format)
			log.Info("tried", name, "hunter2")
			log.With(name, []byte("hunter2")).Info("tried")
			log.Info("tried", slog.Group("in", name, "hunter2"), slog.Group(name, "value", "hunter2"))
			log.WithGroup(name).Info("tried", "value", errors.New("hunter2"))
			if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), "aHVudGVyMg") {
				t.Errorf("%s as %s shows in the log:\n%s", name, format, &out)
			}
		}
	}
}

func TestWhatOnlySoundsLikeASecretIsShown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	obs.Logger(&out, slog.LevelInfo, "json").Info("signed", "key_id", "k1", "token_type", "bearer", "tokens", 12, "monkey", "ape", "job_id", "j")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"key_id": "k1", "token_type": "bearer", "tokens": 12.0, "monkey": "ape", "job_id": "j"} {
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
		for _, value := range []any{text, errors.New(text)} {
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
