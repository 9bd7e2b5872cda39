package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Headers are HTTP headers, their values secret.
type Headers map[string]Secret

// UnmarshalText reads "name=value,…", values percent-encoded, as OpenTelemetry has it. What cannot
// be read is named by its place only.
func (h *Headers) UnmarshalText(text []byte) error {
	headers := Headers{}
	name := regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	for i, item := range strings.Split(string(text), ",") {
		key, encoded, ok := strings.Cut(strings.TrimSpace(item), "=")
		value, err := url.PathUnescape(encoded)
		if !ok || err != nil || !name.MatchString(key) ||
			strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("want NAME=VALUE,… with percent-encoded values: item %d is none", i+1)
		}
		headers[key] = NewSecret(value)
	}
	*h = headers
	return nil
}

// Reveal gives the headers themselves.
func (h Headers) Reveal() map[string]string {
	plain := make(map[string]string, len(h))
	for name, value := range h {
		plain[name] = value.Reveal()
	}
	return plain
}
