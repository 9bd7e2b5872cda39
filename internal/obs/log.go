// Package obs is how Waybill is watched: its log.
package obs

import (
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

const hidden = "[hidden]"

// Logger writes one line for each record of at least the given level, as JSON, or as key=value
// pairs where format is "text". It is the last line of defence, not the first: an attribute whose
// name says that it is secret, and the user part of a URL with a password, are shown as "[hidden]".
// Messages are constant by rule of the house and are not searched.
func Logger(w io.Writer, level slog.Level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	if _, safe := w.(*BufferedWriter); !safe {
		w = &oneAtATime{w: w}
	}
	if format == "text" {
		return slog.New(&lineHandler{w: w, careful: slog.NewTextHandler(w, o), slow: true})
	}
	return slog.New(&lineHandler{w: w, careful: slog.NewJSONHandler(w, o)})
}

// redact is called for every attribute, its value resolved, but not for groups: their names come
// along.
func redact(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny: // a number, a time or a flag tells no secret
	default:
		return a
	}
	if secretName(a.Key) || slices.ContainsFunc(groups, secretName) {
		return slog.String(a.Key, hidden)
	}
	if a.Value.Kind() == slog.KindAny {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error())
		}
	}
	if a.Value.Kind() == slog.KindString {
		a.Value = slog.StringValue(withoutPasswords(a.Value.String()))
	}
	return a
}

// secretName knows password, new_password, PasswordHash, authorization, api_key, access-token and
// the like. A word like "key" must come last: key_id and token_type may be shown.
func secretName(name string) bool {
	for name != "" && strings.IndexByte(separators, name[len(name)-1]) >= 0 {
		name = name[:len(name)-1]
	}
	start := 0
	for i := range len(name) {
		switch {
		case strings.IndexByte(separators, name[i]) >= 0:
			if secretWord(name[start:i], false) {
				return true
			}
			start = i + 1
		case i > start && 'A' <= name[i] && name[i] <= 'Z' && 'a' <= name[i-1] && name[i-1] <= 'z':
			if secretWord(name[start:i], false) {
				return true
			}
			start = i
		}
	}
	return secretWord(name[start:], true)
}

const separators = "_-. /"

func secretWord(word string, last bool) bool {
	switch strings.ToLower(word) {
	case "password",
		"passwd",
		"passphrase",
		"secret",
		"secrets",
		"authorization",
		"cookie",
		"credential",
		"credentials":
		return true
	case "key", "keys", "token", "tokens", "apikey", "jwt", "dsn":
		return last
	}
	return false
}

// withoutPasswords turns postgres://user:password@host into postgres://[hidden]@host. Errors of
// drivers quote URLs.
func withoutPasswords(s string) string {
	if !mayHoldPassword(s) {
		return s // nearly always: the expression below costs a hundred times as much
	}
	return regexp.MustCompile(`://[^\s/@:]*:[^\s/]*@`).ReplaceAllString(s, "://"+hidden+"@")
}

func mayHoldPassword(s string) bool {
	return strings.IndexByte(s, '@') >= 0 && strings.Contains(s, "://")
}
