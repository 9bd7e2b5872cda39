package main

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
	Create adminCreate `cmd:"" help:"Make an administrator."`
}

type adminCreate struct {
	Email         string `required:"" help:"His e-mail address."`
	PasswordStdin bool   `help:"Read the password from standard input; else one is made and printed."`
}

const maxPasswordInput = 4096

func (c *adminCreate) Run(ctx context.Context, s *streams) error {
	password := rand.Text()
	if c.PasswordStdin {
		b, err := io.ReadAll(io.LimitReader(s.in, maxPasswordInput))
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		if password = strings.TrimRight(string(b), "\r\n"); password == "" {
			return errors.New("standard input holds no password")
		}
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
