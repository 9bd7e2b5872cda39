// Package tasks describes types of work and the code that runs them.
//
// A [Definition] is the contract of a task type: its name, its payload P and its result R. It holds
// no code, so a service that only submits jobs imports the definition and nothing of the worker.
// [Definition.Handle] adds the function that does the work; package server builds a program of such
// handlers, package client submits jobs by the same definitions:
//
//	var RenderInvoice = tasks.Definition[Invoice, Document]{Name: "invoice.render", Timeout: time.Minute}
//
//	func main() { os.Exit(server.Main(RenderInvoice.Handle(render))) }
//
// A job can be handed to its handler more than once: after a failure, and after a worker was lost
// before its outcome was recorded. A handler must therefore be safe to repeat; [Info] has the job's
// id, which is the same for every attempt.
//
// The package imports the standard library only.
package tasks
