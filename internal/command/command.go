// Package command is the command line of Waybill: of the waybill program, and of every program that
// package server builds.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

// Program is what a command line is made of.
type Program struct {
	Name       string       // of the program; "" is waybill
	Types      []tasks.Type // offered beside the built-in ones
	Middleware []tasks.Middleware
	Setup      func(context.Context, *app.Env) error
}

type commands struct {
	Dev        devCommand        `cmd:"" help:"Run everything in one process, for trying out: API, worker, ledger, Redis."`
	API        apiCommand        `cmd:"" name:"api" help:"Run the API of a deployment."`
	Worker     workerCommand     `cmd:"" help:"Run a worker of a deployment."`
	Jobs       jobsCommand       `cmd:"" help:"Submit, list, read, cancel and retry jobs of a running API."`
	Login      loginCommand      `cmd:"" help:"Sign in at a deployment, and keep an API key for it."`
	Logout     logoutCommand     `cmd:"" help:"Forget a deployment and its API key."`
	Profile    profileCommand    `cmd:"" help:"The deployments that login knows."`
	Migrate    migrateCommand    `cmd:"" help:"Change or show the database's schema."`
	Admin      adminCommand      `cmd:"" help:"Administrators."`
	Fsck       fsckCommand       `cmd:"" help:"Compare the ledger with Redis and print where they differ."`
	Bench      benchCommand      `cmd:"" help:"Put load on a running API and measure it, beside bare asynq."`
	Peer       benchPeerCommand  `cmd:"" hidden:"" name:"bench-peer"`
	Completion completionCommand `cmd:"" help:"Print the completion script of a shell."`
	Version    versionCommand    `cmd:"" help:"Print the version."`

	Flag kong.VersionFlag `name:"version" help:"Print the version."`
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer

	ownProcess bool // the command is the process: it may change what is the process's own
}

// Main runs the command that args name, until ctx ends, and returns the exit code: 1 for a failure,
// 2 for a wrong command line or configuration. It hides the process's memory from other processes
// of its user and sets the log of the Redis library, which Run does not.
func (p Program) Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	app.SetRedisLogger(slog.New(slog.DiscardHandler)) // what fails is said once, by the command
	if serves(args) {
		if err := app.HideMemory(); err != nil {
			fmt.Fprintf(errs, "%s cannot start: %v\n", p.name(), err)
			return 1
		}
	}
	return p.run(ctx, args, &streams{in: in, out: out, err: errs, ownProcess: true})
}

// serves reports whether a command runs handlers, or holds keys for long.
func serves(args []string) bool {
	return len(args) > 0 && (args[0] == "dev" || args[0] == "api" || args[0] == "worker")
}

// Run is Main without what it changes of the process.
func (p Program) Run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	return p.run(ctx, args, &streams{in: in, out: out, err: errs})
}

func (p Program) name() string {
	if p.Name == "" {
		return "waybill"
	}
	return filepath.Base(p.Name)
}

func (p Program) run(ctx context.Context, args []string, s *streams) int {
	var c commands
	code := -1
	parser, err := kong.New(&c,
		kong.Name(p.name()),
		kong.Description("Waybill: a durable job queue. PostgreSQL writes every job down, Redis only carries it."),
		kong.Writers(s.out, s.err),
		kong.Exit(func(n int) { code = n }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Vars{"version": versionLine()},
	)
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
		fmt.Fprintf(s.err, "%[1]s: %[2]v (%[1]s --help lists the commands)\n", p.name(), err)
		return 2
	}
	if err := parsed.Run(s, &c.Jobs.accessFlags, &p, parser); err != nil {
		if text := said(err); text != "" {
			fmt.Fprintf(s.err, "%s: %s\n", p.name(), text)
		}
		return exitCode(err)
	}
	return 0
}

// codedError is an error with an exit code of its own, for commands whose codes tell more than that
// something failed.
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

// errSaid is the error of a command that has written what is wrong.
var errSaid = errors.New("")

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
