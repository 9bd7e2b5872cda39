package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Origins are origins of web pages, in the exact form that browsers send: scheme://host, or scheme://host:port.
type Origins []string

// UnmarshalText reads "https://app.example.com,http://localhost:3000".
func (o *Origins) UnmarshalText(text []byte) error {
	var origins Origins
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		u, err := url.Parse(item)
		if err != nil || !web(u) || u.Scheme+"://"+u.Host != item || item != strings.ToLower(item) {
			return fmt.Errorf("want origins like https://app.example.com, lower-case and without a path, got %q", item)
		}
		origins = append(origins, item)
	}
	*o = origins
	return nil
}

// BaseURL is an http or https URL without query, fragment, user and trailing slash.
type BaseURL string

// UnmarshalText reads it; a trailing slash is dropped.
func (b *BaseURL) UnmarshalText(text []byte) error {
	trimmed := strings.TrimRight(string(text), "/")
	u, err := url.Parse(trimmed)
	// The URL is not repeated: somebody may have put a password in it.
	if err != nil || !web(u) || u.Scheme+"://"+u.Host+u.EscapedPath() != trimmed {
		return errors.New("want a URL like https://jobs.example.com, without user, query and fragment")
	}
	*b = BaseURL(trimmed)
	return nil
}

func web(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(u.Host, "*, ")
}
