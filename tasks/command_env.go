package tasks

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/waybill/waybill/internal/job"
)

const (
	maxEnv      = 50
	maxEnvBytes = 32 << 10 // names and values together
)

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	// envTaken are variables that change which code runs: of the loader, of shells and of interpreters; and our own.
	envTaken = regexp.MustCompile(`^(LD_.*|DYLD_.*|GLIBC_.*|GCONV_PATH|PATH|IFS|ENV|BASH_.*|SHELLOPTS|BASHOPTS|PS4|` +
		`PYTHON.*|PERL.*|RUBY.*|NODE_.*|JAVA_.*|JDK_.*|_JAVA_.*|GIT_.*|WAYBILL_.*)$`)
)

func checkEnv(env map[string]string) []job.FieldError {
	if len(env) > maxEnv {
		return []job.FieldError{{Pointer: "/env", Detail: fmt.Sprintf("must have at most %d variables", maxEnv)}}
	}
	var fields []job.FieldError
	add := func(pointer, detail string) {
		fields = append(fields, job.FieldError{Pointer: pointer, Detail: detail})
	}
	size := 0
	for name, value := range env {
		size += len(name) + len(value)
		switch {
		case !envName.MatchString(name):
			add(child("/env", name), "is not a valid name of a variable")
		case envTaken.MatchString(strings.ToUpper(name)):
			add(child("/env", name), "may not be set")
		case strings.ContainsRune(value, 0):
			add(child("/env", name), "must not hold a NUL")
		}
	}
	if size > maxEnvBytes {
		add("/env", "must have at most 32 KiB, names and values together")
	}
	return fields
}

// environment is small and the same everywhere: nothing of the worker's own, which holds the deployment's secrets.
func environment(j *job.Job, given map[string]string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(),
		"WAYBILL_JOB_ID=" + j.ID.String(), fmt.Sprintf("WAYBILL_ATTEMPT=%d", j.Attempt)}
	for name, value := range given { // the later of two wins, so HOME and LANG may be given
		env = append(env, name+"="+value)
	}
	return env
}
