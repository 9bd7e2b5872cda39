package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/store"
)

type adminCommand struct {
	Create   adminCreate   `cmd:"" help:"Make an administrator."`
	Password adminPassword `cmd:"" help:"Give an account another password and end its sign-ins; API keys stay."`
}

type adminCreate struct {
	Email         string `required:"" help:"His e-mail address."`
	PasswordStdin bool   `help:"Read the password from standard input; else one is made and printed."`
}

const maxPasswordInput = 4096

func (c *adminCreate) Run(ctx context.Context, s *streams) error {
	password, err := choosePassword(s, c.PasswordStdin)
	if err != nil {
		return err
	}
	return withStore(ctx, s, func(st *store.Store) error {
		if err := st.Check(ctx); err != nil {
			return err
		}
		u, err := app.CreateAdmin(ctx, st, c.Email, password)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "administrator %s created (%s)\n", u.Email, u.ID)
		if !c.PasswordStdin {
			fmt.Fprintf(s.out, "password: %s\n", password)
		}
		return nil
	})
}

type adminPassword struct {
	Email         string `required:"" help:"The account's e-mail address."`
	PasswordStdin bool   `help:"Read the password from standard input; else one is made and printed."`
	RequireChange bool   `help:"The user must choose another one at the next sign-in."`
}

func (c *adminPassword) Run(ctx context.Context, s *streams) error {
	password, err := choosePassword(s, c.PasswordStdin)
	if err != nil {
		return err
	}
	return withStore(ctx, s, func(st *store.Store) error {
		if err := st.Check(ctx); err != nil {
			return err
		}
		u, err := app.SetPassword(ctx, st, c.Email, password, c.RequireChange)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "password of %s set, its sign-ins ended (%s)\n", u.Email, u.ID)
		if !c.PasswordStdin {
			fmt.Fprintf(s.out, "password: %s\n", password)
		}
		return nil
	})
}

// choosePassword reads a password from standard input, or makes one.
func choosePassword(s *streams, stdin bool) (string, error) {
	if !stdin {
		return rand.Text(), nil
	}
	b, err := io.ReadAll(io.LimitReader(s.in, maxPasswordInput))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return "", errors.New("standard input holds no password")
	}
	return password, nil
}
