package command

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/waybill/waybill/internal/config"
)

type loginCommand struct {
	URL           string `help:"The API. Without it: WAYBILL_URL, or what the profile says, or http://127.0.0.1:8080." placeholder:"URL"`
	Profile       string `help:"What this deployment is called here. Without it: WAYBILL_PROFILE, or default." placeholder:"NAME"`
	Email         string `help:"Sign in with this e-mail address and a password, and make an API key with that."`
	PasswordStdin bool   `xor:"in" help:"Read the password from standard input instead of asking for it."`
	KeyStdin      bool   `xor:"in" help:"Keep an API key that is read from standard input, instead of making one."`
}

// Run keeps a key that works. One that a former login of the same profile made is revoked.
func (c *loginCommand) Run(ctx context.Context, s *streams) error {
	env, err := config.LoadClient()
	if err != nil {
		return err
	}
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	name := cmp.Or(c.Profile, env.Profile, "default")
	old := all.Profiles[name]
	p := profile{URL: strings.TrimRight(cmp.Or(c.URL, string(env.URL), old.URL, defaultURL), "/")}
	if c.KeyStdin {
		err = c.takeKey(s, &p)
	} else {
		err = c.makeKey(ctx, s, &p, old)
	}
	if err != nil {
		return err
	}
	var me struct {
		Email string `json:"email"`
	}
	if err := (access{p.URL, p.Key, "waybill login"}).call(ctx, http.MethodGet, "/v1/me", nil, &me); err != nil {
		return fmt.Errorf("the key does not work: %w", err)
	}
	p.Email = me.Email
	all.Profiles[name], all.Current = p, name
	if err := all.save(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "signed in at %s as %s; this is now the profile %s\n", p.URL, p.Email, name)
	return nil
}

func (c *loginCommand) takeKey(s *streams, p *profile) error {
	text, err := readLine(s.in)
	p.Key = text
	if err == nil && text == "" {
		err = errors.New("standard input holds no key")
	}
	return err
}

func (c *loginCommand) makeKey(ctx context.Context, s *streams, p *profile, old profile) error {
	email, password, err := c.credentials(s)
	if err != nil {
		return err
	}
	var token struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	at := access{url: p.URL, from: "waybill login"}
	signIn := map[string]string{"email": email, "password": password}
	if err := at.call(ctx, http.MethodPost, "/v1/auth/login", signIn, &token); err != nil {
		return err
	}
	at.key = token.Access
	var made struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}
	named := map[string]string{"name": "waybill login" + onHost()}
	if err := at.call(ctx, http.MethodPost, "/v1/api-keys", named, &made); err != nil {
		return fmt.Errorf("make an API key: %w", err)
	}
	p.Key, p.KeyID = made.Key, made.ID
	if old.KeyID != "" && sameOrigin(old.URL, p.URL) {
		// Another user's, or gone: it stays as it is.
		_ = at.call(ctx, http.MethodDelete, "/v1/api-keys/"+old.KeyID, nil, nil)
	}
	session := map[string]string{"refresh_token": token.Refresh}
	_ = at.call(ctx, http.MethodPost, "/v1/auth/logout", session, nil) // the session ends by itself, too
	return nil
}

func onHost() string {
	if name, err := os.Hostname(); err == nil && len(name) < 64 {
		return " on " + name
	}
	return ""
}

// credentials asks for what was not given, if standard input is a terminal.
func (c *loginCommand) credentials(s *streams) (email, password string, err error) {
	file, _ := s.in.(*os.File)
	terminal := file != nil && term.IsTerminal(int(file.Fd()))
	if !terminal && (c.Email == "" || !c.PasswordStdin) {
		return "", "", errors.New("there is no terminal to ask at: give --email and --password-stdin, or --key-stdin")
	}
	if email = c.Email; email == "" {
		fmt.Fprint(s.err, "E-mail: ")
		if email, err = readLine(s.in); err != nil {
			return "", "", err
		}
	}
	if !terminal || c.PasswordStdin {
		password, err = readLine(s.in)
		return email, password, err
	}
	fmt.Fprint(s.err, "Password: ")
	text, err := term.ReadPassword(int(file.Fd()))
	fmt.Fprintln(s.err)
	return email, string(text), err
}

// readLine reads byte by byte, so that it takes nothing of the next line.
func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(&oneByte{in}, 16).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type oneByte struct{ io.Reader }

func (o *oneByte) Read(b []byte) (int, error) { return o.Reader.Read(b[:min(len(b), 1)]) }

type logoutCommand struct {
	Profile string `help:"Which; without it the current one." placeholder:"NAME"`
}

// Run forgets a profile. The key itself can be revoked with a sign-in only.
func (c *logoutCommand) Run(s *streams) error {
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	name := cmp.Or(c.Profile, all.Current)
	p, ok := all.Profiles[name]
	if !ok {
		return fmt.Errorf("there is no profile %q", name)
	}
	delete(all.Profiles, name)
	if all.Current == name {
		all.Current = ""
	}
	if err := all.save(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "the profile %s is forgotten\n", name)
	if p.KeyID != "" {
		fmt.Fprintf(
			s.out,
			"its API key stays good until it is revoked: DELETE %s/v1/api-keys/%s, with an access token\n",
			p.URL,
			p.KeyID,
		)
	}
	return nil
}
