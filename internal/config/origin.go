package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Origins are origins of web pages, in the exact form that browsers send: scheme://host, or
// scheme://host:port.
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
		origins = append(origins, origin(u)) // browsers leave a default port out
	}
	*o = origins
	return nil
}

// BaseURL is an http or https URL without query, fragment, user and trailing slash.
type BaseURL string

// UnmarshalText reads it and gives it the form in which browsers name origins: scheme and host in
// lower case, no default port. A trailing slash is dropped.
func (b *BaseURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(strings.TrimRight(string(text), "/"))
	// The URL is not repeated: it may hold a password.
	if err != nil || !web(u) || u.User != nil || u.RawQuery != "" || u.ForceQuery ||
		strings.Contains(string(text), "#") {
		return errors.New("want a URL like https://jobs.example.com, without user, query and fragment")
	}
	*b = BaseURL(origin(u) + strings.TrimRight(u.EscapedPath(), "/"))
	return nil
}

// origin is scheme, host and port as browsers write them: a default port is left out.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return strings.ToLower(u.Scheme) + "://" + host
}

// publicPath are the paths that the API can be served under.
var publicPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// checkPublicURL holds the URL to what pages and cookies can be bound to.
func checkPublicURL(m *problems, b BaseURL) {
	u, err := url.Parse(string(b))
	switch {
	case err != nil:
		m.add("WAYBILL_PUBLIC_URL", "not a URL")
	case !publicPath.MatchString(u.EscapedPath()):
		m.add(
			"WAYBILL_PUBLIC_URL",
			"want a path of letters, digits, -, _, ~ and dots, like https://example.com/waybill, or none",
		)
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }):
		m.add("WAYBILL_PUBLIC_URL", "want the host in the form that browsers send, xn--…")
	}
}

func web(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(u.Host, "*, ")
}
