package config

import (
	"fmt"
	"os"

	"github.com/caarlos0/env/v11"
)

// Client is what the commands that call an API read: where it is, and with which key.
type Client struct {
	URL     BaseURL `env:"WAYBILL_URL"`
	APIKey  Secret  `env:"WAYBILL_API_KEY"`
	Profile string  `env:"WAYBILL_PROFILE"`
}

// clientVariables are known to every process: a shell that calls an API may start a process, too.
var clientVariables = []string{"WAYBILL_URL", "WAYBILL_API_KEY", "WAYBILL_PROFILE"}

// LoadClient reads this process's environment. It does not look at what is none of a client's
// business. The error is an *Error.
func LoadClient() (c Client, err error) {
	m := new(problems)
	if err := env.ParseWithOptions(&c, env.Options{Environment: table(os.Environ())}); err != nil {
		m.add("WAYBILL_URL", "want a URL like https://jobs.example.com, without user, query and fragment")
	}
	if err := m.err(); err != nil {
		return Client{}, fmt.Errorf("read the client's variables: %w", err)
	}
	return c, nil
}
