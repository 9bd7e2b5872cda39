package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Commands maps the names that a command.run job may ask for to the programs they stand for, as
// absolute paths.
type Commands map[string]string

// UnmarshalText reads "name=/abs/path,…".
func (c *Commands) UnmarshalText(text []byte) error {
	commands := make(Commands)
	for item := range strings.SplitSeq(string(text), ",") {
		name, path, _ := strings.Cut(strings.TrimSpace(item), "=")
		if !validName(name) || !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return fmt.Errorf("want NAME=/ABSOLUTE/PATH,…: names of 1 to 63 of a-z, 0-9, _ and -; got %q", item)
		}
		if commands[name] != "" {
			return fmt.Errorf("want each name once, got %q twice", name)
		}
		commands[name] = path
	}
	*c = commands
	return nil
}

// CommandEnv lists, by the name of a command, the variables that a command.run job may set for it.
type CommandEnv map[string][]string

// UnmarshalText reads "name=VARIABLE|VARIABLE,…".
func (c *CommandEnv) UnmarshalText(text []byte) error {
	env := make(CommandEnv)
	for item := range strings.SplitSeq(string(text), ",") {
		name, list, _ := strings.Cut(strings.TrimSpace(item), "=")
		variables := strings.Split(list, "|")
		for i, variable := range variables {
			if !validName(name) || !validVariable(variable) {
				return fmt.Errorf("want NAME=VARIABLE|VARIABLE,… with a name of WAYBILL_COMMANDS, got %q", item)
			}
			for _, earlier := range variables[:i] {
				if earlier == variable {
					return fmt.Errorf("want each variable of a command once, got %q twice in %q", variable, item)
				}
			}
		}
		if env[name] != nil {
			return fmt.Errorf("want each name once, got %q twice", name)
		}
		env[name] = variables
	}
	*c = env
	return nil
}

func validVariable(s string) bool {
	return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`).MatchString(s)
}

// CommandUser is the user and the group that command.run runs programs as, where Set.
type CommandUser struct {
	UID, GID uint32
	Set      bool
}

// UnmarshalText reads "UID" or "UID:GID", numbers; the group of a user without one has the same
// number.
func (u *CommandUser) UnmarshalText(text []byte) error {
	user, group, both := strings.Cut(string(text), ":")
	if !both {
		group = user
	}
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, groupErr := strconv.ParseUint(group, 10, 32)
	const none = 1<<32 - 1 // "leave it as it is" to the kernel
	if err != nil || groupErr != nil || uid == none || gid == none {
		return errors.New("want UID or UID:GID, as numbers")
	}
	*u = CommandUser{UID: uint32(uid), GID: uint32(gid), Set: true}
	return nil
}
