package dev

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/waybill/waybill/internal/app"
)

// credentials is what dev must know again after a restart: secrets of a machine for trying out, in
// a file that only its owner can read.
type credentials struct {
	path       string
	SigningKey []byte `json:"signing_key"`
	Email      string `json:"admin_email"`
	Password   string `json:"admin_password"`
	APIKey     string `json:"api_key"`
}

func loadCredentials(path string) (*credentials, error) {
	k := &credentials{path: path, Email: "admin@waybill.localhost"}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.SigningKey = make([]byte, 32)
		_, _ = rand.Read(k.SigningKey)
		k.Password = rand.Text()
		return k, k.save()
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("%s is broken, remove the data folder to begin again: %w", path, err)
	}
	return k, nil
}

func (k *credentials) save() error {
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	return writeAside(k.path, b)
}

// writeAside writes a file whole, or leaves the old one. Only its owner can read it.
func writeAside(path string, b []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", part, err)
	}
	return os.Rename(part, path)
}

// ensure makes the administrator and his API key where they are missing: at the first start, or
// where --database-url names another ledger.
func (k *credentials) ensure(ctx context.Context, a *app.App) error {
	key, err := a.EnsureAdmin(ctx, k.Email, k.Password, k.APIKey)
	if err != nil {
		return fmt.Errorf("make the administrator: %w", err)
	}
	if key != k.APIKey {
		k.APIKey = key
		if err := k.save(); err != nil {
			return err
		}
	}
	return writeAside(filepath.Join(filepath.Dir(k.path), "key"), []byte(key+"\n")) // where `waybill jobs` looks for it
}

// showURL tells `waybill jobs` where this process is, for as long as it runs.
func (k *credentials) showURL(url string) (forget func(), err error) {
	path := filepath.Join(filepath.Dir(k.path), "url")
	return func() { _ = os.Remove(path) }, writeAside(path, []byte(url+"\n"))
}

func greet(out io.Writer, url string, k *credentials, o Options, redisKind string) {
	fmt.Fprintf(out, `
  Waybill runs at %[1]s

    documentation   %[1]s/docs
    monitor         %[1]s/monitor   %[2]s / %[3]s
    inbox           %[1]s/dev/inbox
    data            %[5]s (Redis: %[6]s)

  Your first job: it posts to the inbox, which is a real HTTP endpoint.

    curl -sS %[1]s/v1/jobs -H 'Authorization: Bearer %[4]s' -H 'Content-Type: application/json' -d '{"type":"http.request","payload":{"url":"%[1]s/dev/inbox","body":{"hello":"world"}}}'

  What came of the newest:

    curl -sS '%[1]s/v1/jobs?limit=1' -H 'Authorization: Bearer %[4]s'

  The endpoint's answer is the job's result: ask the same for /v1/jobs/ID, with the id that the first line answered.
  In this folder, %[7]s finds all this by itself. Ctrl-C stops it.

`, url, k.Email, k.Password, k.APIKey, o.Data, redisKind, listCommand(o.Program))
}

// listCommand is how a program lists jobs. Where the package of another program's main is is not
// known.
func listCommand(program string) string {
	if program == "waybill" {
		return `"waybill jobs list" (go run ./cmd/waybill jobs list)`
	}
	return `"` + program + ` jobs list"`
}
