package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Commands maps the names that a command.run job may ask for to the programs they stand for, as absolute paths.
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
