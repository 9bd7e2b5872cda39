package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

const (
	defaultURL = "http://127.0.0.1:8080"
	devFolder  = ".waybill" // where waybill dev keeps its administrator's key, and its URL while it runs
)

// repeats is how often a command repeats a request whose answer was lost. It is less than the
// default of package client, since a person waits for the error at the terminal.
const repeats = 2

// accessFlags say which API a command calls, and with which key.
type accessFlags struct {
	URL       string `help:"The API. Without it: WAYBILL_URL, or what the profile says, or http://127.0.0.1:8080." placeholder:"URL"`
	TokenFile string `help:"A file with an API key or access token. Without it: WAYBILL_API_KEY, or what the profile says." placeholder:"FILE"`
	Profile   string `help:"Which of the deployments that waybill login knows. Without it: WAYBILL_PROFILE, or the waybill dev that runs in this folder, or the current one." placeholder:"NAME"`
}

// access is where requests are sent, and with which key.
type access struct {
	url, key string
	from     string // what named the URL
}

// client is a client of the API that the flags, the environment or a profile name.
func (c *accessFlags) client() (*client.Client, access, error) {
	a, err := c.access()
	if err != nil {
		return nil, a, err
	}
	api, err := a.client()
	return api, a, err
}

func (a access) client() (*client.Client, error) {
	agent := client.WithUserAgent("waybill/" + app.Version())
	api, err := client.New(a.url, a.key, client.WithRetries(repeats), agent)
	return api, a.explain(err)
}

// call makes one request that package client has no method for.
func (a access) call(ctx context.Context, method, path string, in, out any) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	return a.explain(api.Call(ctx, method, path, in, out))
}

// explain says what named the URL, where err is no answer of an API.
func (a access) explain(err error) error {
	var refused *client.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w (the API's URL is from %s)", err, a.from)
}

// access finds it. Flags come before the environment, that before a profile; among these, one that
// is named comes first, then the waybill dev of this folder while it runs, then the one that was
// chosen last. The key of a profile goes to that profile's URL only.
func (c *accessFlags) access() (access, error) {
	env, err := config.LoadClient()
	if err != nil {
		return access{}, err
	}
	if c.Profile != "" { // a flag: the environment does not count
		env = config.Client{}
	}
	p, err := chooseProfile(cmp.Or(c.Profile, env.Profile))
	if err != nil {
		return access{}, err
	}
	a := access{url: p.URL, from: p.from}
	for _, given := range []struct{ url, from string }{{string(env.URL), "WAYBILL_URL"},
		{strings.TrimRight(c.URL, "/"), "--url"}} {
		if given.url != "" {
			a.url, a.from = given.url, given.from
		}
	}
	switch {
	case c.TokenFile != "":
		if a.key, err = readSecret(c.TokenFile); err != nil {
			return a, fmt.Errorf("an API key is needed (--token-file): %w", err)
		}
	case env.APIKey.IsSet():
		a.key = env.APIKey.Reveal()
	case p.Key == "":
		return a, errors.New(
			"an API key is needed: sign in with `waybill login`, or set WAYBILL_API_KEY, or name a file that holds " +
				"one with --token-file",
		)
	case !sameOrigin(p.URL, a.url):
		return a, fmt.Errorf("an API key is needed for %s: that of %s is for %s only", a.url, p.from, p.URL)
	default:
		a.key = p.Key
	}
	return a, nil
}

// chosen is a profile and what led to it.
type chosen struct {
	profile
	from string
}

func chooseProfile(name string) (chosen, error) {
	all, err := loadProfiles()
	if err != nil {
		return chosen{}, err
	}
	if name != "" {
		p, ok := all.Profiles[name]
		if !ok {
			return chosen{}, fmt.Errorf(
				"there is no profile %q: `waybill profile list` shows those that there are, `waybill login --profile "+
					"%s` makes it",
				name,
				name,
			)
		}
		return chosen{p, "the profile " + name}, nil
	}
	dev, running := readDev()
	p, ok := all.Profiles[all.Current]
	switch {
	case ok && !running:
		return chosen{p, "the profile " + all.Current}, nil
	case dev.Key != "":
		return chosen{dev, "waybill dev, in " + devFolder}, nil
	}
	return chosen{profile{URL: defaultURL}, "the default"}, nil
}

// readDev is what a waybill dev of this folder left there.
func readDev() (p profile, running bool) {
	p.Key, _ = readSecret(filepath.Join(devFolder, "key")) // none: there is no dev
	p.URL, _ = readSecret(filepath.Join(devFolder, "url")) // removed when it stops
	running = p.Key != "" && p.URL != ""
	p.URL = cmp.Or(p.URL, defaultURL)
	return p, running
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
}

func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	text := strings.TrimSpace(string(b))
	if err == nil && text == "" {
		err = errors.New(path + " is empty")
	}
	return text, err
}
