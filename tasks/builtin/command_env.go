package builtin

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/waybill/waybill/internal/job"
	"github.com/waybill/waybill/tasks"
)

const (
	maxEnv      = 50
	maxEnvBytes = 32 << 10 // names and values together
)

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	// envNever are variables that no deployment may allow, since they change which code runs: those
	// of the loader, of shells and of interpreters; and our own. The list is a guard against
	// mistakes. What protects is that nothing is allowed unless it is named.
	envNever = regexp.MustCompile(`^(LD_.*|DYLD_.*|GLIBC_.*|GCONV_PATH|PATH|IFS|ENV|BASH_.*|SHELLOPTS|BASHOPTS|PS4|` +
		`PYTHON.*|PERL.*|RUBY.*|NODE_.*|JAVA_.*|JDK_.*|_JAVA_.*|GIT_.*|TAR_OPTIONS|WAYBILL_.*)$`)
)

// validateEnv names what is wrong with the variables that commands are allowed to get.
func (c CommandConfig) validateEnv() error {
	var errs []error
	for _, command := range slices.Sorted(maps.Keys(c.Env)) {
		if _, ok := c.Allow[command]; !ok {
			errs = append(errs, fmt.Errorf("variables of the command %q: there is no such command", command))
		}
		for _, name := range c.Env[command] {
			switch {
			case !envName.MatchString(name):
				errs = append(errs, fmt.Errorf("command %q: %q is not a valid name of a variable", command, name))
			case envNever.MatchString(strings.ToUpper(name)):
				errs = append(
					errs,
					fmt.Errorf(
						"command %q: the variable %s can change which code runs, or is Waybill's own",
						command,
						name,
					),
				)
			}
		}
	}
	return errors.Join(errs...)
}

// checkEnv holds a payload's variables to those that its command may get.
func checkEnv(env map[string]string, allowed []string) []tasks.FieldError {
	if len(env) > maxEnv {
		return []tasks.FieldError{{Pointer: "/env", Detail: fmt.Sprintf("must have at most %d variables", maxEnv)}}
	}
	var fields []tasks.FieldError
	add := func(pointer, detail string) {
		fields = append(fields, tasks.FieldError{Pointer: pointer, Detail: detail})
	}
	size := 0
	for name, value := range env {
		size += len(name) + len(value)
		switch {
		case !slices.Contains(allowed, name):
			add(job.PointerTo("/env", name), notAllowed(allowed))
		case strings.ContainsRune(value, 0):
			add(job.PointerTo("/env", name), "must not hold a NUL")
		}
	}
	if size > maxEnvBytes {
		add("/env", "must have at most 32 KiB, names and values together")
	}
	return fields
}

func notAllowed(allowed []string) string {
	if len(allowed) == 0 {
		return "may not be set: this deployment lets the command have no variables"
	}
	return "may not be set: this deployment lets the command have " + strings.Join(allowed, ", ")
}

// environment is small and the same everywhere: nothing of the worker's own, which holds the
// deployment's secrets.
func environment(j tasks.Info, given map[string]string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(),
		"WAYBILL_JOB_ID=" + j.ID.String(), "WAYBILL_OWNER_ID=" + j.OwnerID.String(),
		fmt.Sprintf("WAYBILL_ATTEMPT=%d", j.Attempt)}
	for name, value := range given { // the later of two wins, so HOME and LANG may be given where they are allowed
		env = append(env, name+"="+value)
	}
	return env
}
