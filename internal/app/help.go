package app

import (
	"fmt"
	"io"
)

// answer deals with what stands behind the program's name and needs no configuration. healthcheck
// does, so it is left to Main.
func answer(args []string, o Options, out, errs io.Writer) (code int, answered bool) {
	switch {
	case len(args) == 0 || len(args) == 1 && args[0] == "healthcheck":
		return 0, false
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help"):
		fmt.Fprint(out, usage(o))
		return 0, true
	case len(args) == 1 && (args[0] == "--version" || args[0] == "version"):
		fmt.Fprintln(out, o.name(), Version())
		return 0, true
	}
	fmt.Fprintf(
		errs,
		"%s takes no arguments but healthcheck, --version and --help; the environment configures it\n",
		o.name(),
	)
	return 2, true
}

func (o Options) name() string {
	if o.API != nil {
		return "api"
	}
	return "worker"
}

func usage(o Options) string {
	does, needs := "Takes jobs over HTTP and writes them down. Start as many as you like.",
		"DATABASE_URL, REDIS_URL, WAYBILL_JWT_KEYS"
	if o.API == nil {
		does, needs = "Runs jobs and schedules. Start as many as it takes.", "DATABASE_URL, REDIS_URL"
	}
	return fmt.Sprintf(`Usage: %[1]s [healthcheck | --version | --help]

%[2]s

It is configured by the environment: %[3]s are required,
docs/configuration.md lists the rest. "waybill migrate up" brings the database up to date;
"waybill dev" is everything in one process, for trying out.

  %[1]s               run until SIGINT or SIGTERM
  %[1]s healthcheck   ask the one that runs with the same environment whether it is ready (exit code 0)
`, o.name(), does, needs)
}
