package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/tasks"
	"github.com/waybill/waybill/tasks/builtin/internal/process"
)

const (
	commandGrace = 2 * time.Second // from SIGTERM to SIGKILL
	maxOutput    = 16 << 10        // bytes kept of stdout, and of stderr, with the note on what was left out
	outputNote   = 64              // bytes that the note takes at most
	maxErrorTail = 512             // bytes of stderr in an error's text
)

var commandName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

// CommandConfig lists the programs that command.run may run. Without any the task type does not
// exist.
type CommandConfig struct {
	// Allow maps the name in a payload to the absolute path of a program. Its arguments are the
	// submitter's: list only programs that are safe with any (a shell or an interpreter runs
	// whatever it is told).
	Allow map[string]string
	// Env lists, for the names in Allow, the variables that a payload may set. None by default:
	// many programs read options, or what to run, from variables of their own.
	Env map[string][]string
	// User runs the programs as another user, which needs the capabilities CAP_SETUID, CAP_SETGID
	// and CAP_KILL; nil: as the worker's.
	User *CommandUser
}

// CommandUser is a user and a group of the system.
type CommandUser struct{ UID, GID uint32 }

func (c CommandConfig) enabled() bool { return len(c.Allow) > 0 }

// Validate names every mistake. Whether a program is there is the worker's to find out, when it
// runs it.
func (c CommandConfig) Validate() error {
	var errs []error
	if c.enabled() && !process.Supported {
		errs = append(errs, process.ErrUnsupported)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Allow)) {
		if !commandName.MatchString(name) {
			errs = append(errs, fmt.Errorf("command %q: the name must match %s", name, commandName))
		}
		if !filepath.IsAbs(c.Allow[name]) {
			errs = append(errs, fmt.Errorf("command %q: the path must be absolute", name))
		}
	}
	errs = append(errs, c.validateEnv())
	return errors.Join(errs...)
}

// CheckWorker says why a worker could not run programs as it is told to. The API, which runs none,
// need not be able to.
func (c CommandConfig) CheckWorker() error {
	if !c.enabled() || c.User == nil {
		return nil
	}
	return process.CheckUser(c.User.credential())
}

// Privileged reports whether programs would run as the system's root.
func (c CommandConfig) Privileged() bool {
	return c.enabled() && (c.User == nil && os.Geteuid() == 0 || c.User != nil && c.User.UID == 0)
}

func (u *CommandUser) credential() *process.User {
	if u == nil {
		return nil
	}
	return &process.User{UID: u.UID, GID: u.GID}
}

type commandPayload struct {
	Command string            `json:"command" jsonschema:"minLength=1,maxLength=100" jsonschema_description:"The name of a program that the deployment allows."`
	Args    []string          `json:"args,omitempty" jsonschema:"maxItems=200,maxLength=32768" jsonschema_description:"Its arguments; no shell reads them."`
	Stdin   string            `json:"stdin,omitempty" jsonschema_description:"What it reads from standard input."`
	Env     map[string]string `json:"env,omitempty" jsonschema_description:"Variables beside the base environment (PATH, LANG, HOME, TMPDIR, WAYBILL_JOB_ID, WAYBILL_OWNER_ID, WAYBILL_ATTEMPT), of those that the deployment allows for the command: at most 50, 32 KiB together."`
}

// commandResult is what the program left, its outputs cut and cleaned.
type commandResult struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

// runner runs the programs of command.run.
type runner struct {
	allow map[string]string
	env   map[string][]string
	user  *process.User // nil: the worker's own
}

// commandRun needs a valid cfg.
func commandRun(cfg CommandConfig) tasks.Type {
	r := &runner{allow: maps.Clone(cfg.Allow), env: maps.Clone(cfg.Env), user: cfg.User.credential()}
	names := slices.Sorted(maps.Keys(r.allow))
	return tasks.Definition[commandPayload, *commandResult]{
		Name: "command.run",
		Description: "Runs a program that the deployment allows: " + strings.Join(
			names,
			", ",
		) + ". Exit code 0 is done; 126, 127 " +
			"and a missing program are final, everything else is retried.",
		Private: true, // stdin and env
		Example: commandPayload{Command: names[0]},
		Check:   r.check,
	}.Handle(r.handle)
}

func (r *runner) check(p commandPayload) []tasks.FieldError {
	var fields []tasks.FieldError
	add := func(pointer, detail string) {
		fields = append(fields, tasks.FieldError{Pointer: pointer, Detail: detail})
	}
	if _, ok := r.allow[p.Command]; !ok {
		add("/command", "must be one of "+strings.Join(slices.Sorted(maps.Keys(r.allow)), ", "))
	}
	for i, arg := range p.Args {
		if strings.ContainsRune(arg, 0) {
			add(fmt.Sprintf("/args/%d", i), "must not hold a NUL")
		}
	}
	return append(fields, checkEnv(p.Env, r.env[p.Command])...)
}

func (r *runner) handle(ctx context.Context, j *tasks.Job[commandPayload]) (*commandResult, error) {
	p := j.Payload
	// Again, since this worker's list may differ from the API's.
	if fields := r.check(p); len(fields) > 0 {
		return nil, tasks.Permanent(fmt.Errorf("%s: %s", fields[0].Pointer, fields[0].Detail))
	}
	res, err := process.Run(
		ctx,
		process.Command{Path: r.allow[p.Command], Args: p.Args, Env: environment(j.Info, p.Env),
			Dir: os.TempDir(), Stdin: p.Stdin, Keep: maxOutput - outputNote, Grace: commandGrace, User: r.user},
	)
	if err != nil {
		return nil, startError(err)
	}
	out := commandResult{ExitCode: res.ExitCode, Stdout: legible(res.Stdout), Stderr: legible(res.Stderr)}
	return &out, exitError(out, res.Signal)
}

// legible makes output safe to keep without making it longer, so that its end is not cut off.
func legible(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "?"), "?") }

// tail is the end of s, which is legible, in at most n bytes.
func tail(s string, n int) string {
	i := max(len(s)-n, 0)
	for i < len(s) && !utf8.RuneStart(s[i]) {
		i++
	}
	return s[i:]
}

// startError is permanent where trying again would find the same: no such program, or one that may
// not or cannot be run.
func startError(err error) error {
	for _, final := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC, syscall.E2BIG} {
		if errors.Is(err, final) {
			return tasks.Permanent(err)
		}
	}
	return err
}

// exitError is nil for exit code 0. 126 and 127 are a shell's words for "cannot be run" and "not
// found".
func exitError(out commandResult, signal string) error {
	if out.ExitCode == 0 {
		return nil
	}
	text := fmt.Sprintf("exit code %d", out.ExitCode)
	if signal != "" {
		text = "ended by signal: " + signal
	}
	if said := strings.TrimSpace(out.Stderr); said != "" {
		text += ": " + tail(said, maxErrorTail)
	}
	if out.ExitCode == 126 || out.ExitCode == 127 {
		return tasks.Permanent(errors.New(text))
	}
	return errors.New(text)
}
