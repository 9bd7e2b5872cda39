// Package server builds a Waybill of one's own task types. A whole program is its handlers and one
// line:
//
//	var RenderInvoice = tasks.Definition[Invoice, Document]{Name: "invoice.render"}
//
//	func main() { os.Exit(server.Main(RenderInvoice.Handle(render))) }
//
// The program has every command of waybill: "dev" runs everything in one process, "api" and
// "worker" are the two processes of a deployment, "migrate", "admin", "fsck" and "jobs" operate it.
// They are configured by the environment (see docs/configuration.md), and share their Redis and
// database with the stock api and worker.
//
// Handlers that need something opened first (a database, a client) get it in Setup:
//
//	func main() { os.Exit(server.New(RenderInvoice).Setup(setup).Main()) }
//
//	func setup(ctx context.Context, e *server.Env) error {
//		db, err := sql.Open("pgx", os.Getenv("SHOP_DATABASE_URL"))
//		if err != nil {
//			return err
//		}
//		e.OnStop(func(context.Context) error { return db.Close() })
//		e.Handle(RenderInvoice.Handle((&renderer{db}).render))
//		return nil
//	}
package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/command"
	"github.com/waybill/waybill/tasks"
)

// Server is a program under construction. It is not changed once Main or Run was called.
type Server struct{ program command.Program }

// Main runs a program of the given types: os.Args says which command. It answers the exit code.
func Main(types ...tasks.Type) int { return New(types...).Main() }

// New makes a program that offers types beside the built-in ones. A Definition can be submitted; a
// Handler can be run too. Mistakes in the types are reported when a command needs them.
func New(types ...tasks.Type) *Server {
	return &Server{command.Program{Types: types}}
}

// Use wraps the handlers of all types, the built-in ones too; the first is the outermost. Several
// calls add up.
func (s *Server) Use(mw ...tasks.Middleware) *Server {
	s.program.Middleware = append(s.program.Middleware, mw...)
	return s
}

// Setup calls f once in each process that runs jobs (worker, dev), before its first claim. An error
// keeps the process from starting. f is not called by the other commands. Where an API runs apart
// from its workers, New must be given the Definitions of what f handles, so that the API knows
// them.
func (s *Server) Setup(f func(ctx context.Context, e *Env) error) *Server {
	s.program.Setup = func(ctx context.Context, e *app.Env) error {
		env := &Env{env: e}
		return errors.Join(f(ctx, env), env.err)
	}
	return s
}

// Main runs the command that os.Args names, ends it on SIGINT and SIGTERM (a second one at once),
// and answers the exit code for os.Exit: 0, 1 for a failure, 2 for a wrong command line or
// configuration. deferred calls in main do not run behind os.Exit: what must be closed belongs into
// Env.OnStop.
func (s *Server) Main() int {
	ctx, stop := app.Signals(context.Background())
	defer stop()
	s.program.Name = os.Args[0]
	return s.program.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run runs one command within a larger program or a test: args as on the command line, without the
// program's name. It ends when ctx does, after the jobs that it runs, and answers the exit code. It
// calls no os.Exit, takes no signals and changes nothing process-wide.
func (s *Server) Run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	return s.program.Run(ctx, args, in, out, errs)
}

// API runs the API of a deployment within a larger program, as the command "api" does: until ctx
// ends, after the requests that were begun. The environment configures it, and its log is written
// to log. Nothing process-wide is changed.
func (s *Server) API(ctx context.Context, log io.Writer) error { return s.program.API(log).Serve(ctx) }

// Worker runs a worker within a larger program, as the command "worker" does: until ctx ends, after
// the jobs that it runs, for which it waits WAYBILL_SHUTDOWN_GRACE. Jobs that go on then are handed
// to other workers.
func (s *Server) Worker(ctx context.Context, log io.Writer) error {
	return s.program.Worker(log).Serve(ctx)
}

// Env is what Setup is given of the process.
type Env struct {
	env *app.Env
	err error
}

// Handle adds task types with their code. A mistake in one of them is an error of Setup.
func (e *Env) Handle(types ...tasks.Type) {
	e.err = errors.Join(e.err, e.env.Handle(types...))
}

// OnStop registers f to be called when the process ends, after its jobs, with 15 s to finish. The
// last registered is called first.
func (e *Env) OnStop(f func(context.Context) error) { e.env.OnStop(f) }

// Logger is the process's. Lines of one job are better written by tasks.Log.
func (e *Env) Logger() *slog.Logger { return e.env.Logger() }

// Metrics registers collectors that the process shows at its /metrics beside its own.
func (e *Env) Metrics() prometheus.Registerer { return e.env.Metrics() }
