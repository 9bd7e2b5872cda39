// Command waybill is the operator's command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
)

type commands struct {
	Dev     devCommand       `cmd:"" help:"Run everything in one process, for trying out: API, worker, ledger, Redis."`
	Jobs    jobsCommand      `cmd:"" help:"Submit, list, read, cancel and retry jobs of a running API."`
	Login   loginCommand     `cmd:"" help:"Sign in at a deployment, and keep an API key for it."`
	Logout  logoutCommand    `cmd:"" help:"Forget a deployment and its API key."`
	Profile profileCommand   `cmd:"" help:"The deployments that login knows."`
	Migrate migrateCommand   `cmd:"" help:"Change or show the database's schema."`
	Admin   adminCommand     `cmd:"" help:"Administrators."`
	Fsck    fsckCommand      `cmd:"" help:"Compare the ledger with Redis and print where they differ."`
	Bench   benchCommand     `cmd:"" help:"Put load on a running API and measure it, beside bare asynq."`
	Peer    benchPeerCommand `cmd:"" hidden:"" name:"bench-peer"`
	Version versionCommand   `cmd:"" help:"Print the version."`

	Flag kong.VersionFlag `name:"version" help:"Print the version."`
}

func main() {
	app.SetRedisLogger(slog.New(slog.DiscardHandler)) // what fails is said once, by the command
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := app.Signals(context.Background())
	defer stop()
	var c commands
	code := -1
	parser, err := kong.New(&c, kong.Name("waybill"), kong.Description("Waybill: a durable job queue. PostgreSQL writes every job down, Redis only carries it."),
		kong.Writers(out, errs), kong.Exit(func(n int) { code = n }), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Vars{"version": versionLine()})
	if err != nil {
		panic(err) // the struct above is wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(errs, "waybill: %v (waybill --help lists the commands)\n", err)
		return 2
	}
	if err := parsed.Run(&streams{in, out, errs}, &c.Jobs.client); err != nil {
		fmt.Fprintln(errs, "waybill:", said(err))
		return exitCode(err)
	}
	return 0
}

// codedError is an error with an exit code of its own, for commands whose codes tell more than that something failed.
type codedError struct {
	error
	code int
}

func (e *codedError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return 1
}

// said is an error for a person at a terminal: with the values that are wrong, where it names some.
func said(err error) string {
	text := err.Error()
	var e *job.Error
	if errors.As(err, &e) {
		for _, f := range e.Fields {
			text += "; " + strings.TrimPrefix(f.Pointer, "/") + " " + f.Detail
		}
	}
	return text
}

type versionCommand struct{}

func (versionCommand) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, versionLine())
	return err
}

func versionLine() string { return "waybill " + app.Version() }
