package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// profile is a deployment that `waybill login` knows.
type profile struct {
	URL   string `json:"url"`
	Key   string `json:"key"`
	KeyID string `json:"key_id,omitempty"` // of a key that login made
	Email string `json:"email,omitempty"`
}

// profiles is the file that holds them, which its owner alone can read.
type profiles struct {
	Current  string             `json:"current"`
	Profiles map[string]profile `json:"profiles"`
}

func profilesPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder for profiles: %w", err)
	}
	return filepath.Join(dir, "waybill", "profiles.json"), nil
}

// loadProfiles answers none where there is no file, or no place for one.
func loadProfiles() (profiles, error) {
	none := profiles{Profiles: map[string]profile{}}
	path, err := profilesPath()
	if err != nil {
		return none, nil //nolint:nilerr // a container has no home: it has no profiles either
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read the profiles: %w", err)
	}
	all := none
	if err := json.Unmarshal(text, &all); err != nil {
		return none, fmt.Errorf("%s is broken; remove it and sign in again: %w", path, err)
	}
	return all, nil
}

func (p profiles) save() error {
	path, err := profilesPath()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder for profiles: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(path), "profiles-*") // 0600
	if err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	_, err = part.Write(append(text, '\n'))
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the profiles: %w", errors.Join(err, os.Remove(part.Name())))
	}
	return nil
}

type profileCommand struct {
	List profileList `cmd:"" help:"List the deployments that waybill login knows; the current one has a star."`
	Use  profileUse  `cmd:"" help:"Choose the current one."`
}

type (
	profileList struct {
		Output string `short:"o" default:"table" enum:"table,json" help:"table, or json (a line for each)."`
	}
	profileUse struct {
		Name string `arg:"" help:"Its name."`
	}
)

// profileLine is what is printed of a profile: its key is not.
type profileLine struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Email   string `json:"email"`
	Current bool   `json:"current"`
}

// Run shows no key.
func (c *profileList) Run(s *streams) error {
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(all.Profiles)) {
		p := all.Profiles[name]
		line := profileLine{name, p.URL, p.Email, name == all.Current}
		if c.Output == "json" {
			if err := json.NewEncoder(s.out).Encode(line); err != nil {
				return err
			}
			continue
		}
		star := " "
		if line.Current {
			star = "*"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\n", star, name, p.URL, p.Email)
	}
	return table.Flush()
}

func (c *profileUse) Run(*streams) error {
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	if _, ok := all.Profiles[c.Name]; !ok {
		return fmt.Errorf("there is no profile %q", c.Name)
	}
	all.Current = c.Name
	return all.save()
}
