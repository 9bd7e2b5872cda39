package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// maxFile bounds what is read from a NAME_FILE, in bytes.
const maxFile = 64 << 10

// LoadAPI reads what the API process needs.
func LoadAPI() (Config, error) { return Load("DATABASE_URL", "REDIS_URL", "WAYBILL_JWT_KEYS") }

// LoadWorker reads what the worker process needs.
func LoadWorker() (Config, error) { return Load("DATABASE_URL", "REDIS_URL") }

// Load reads this process's environment; the variables named must be set.
func Load(required ...string) (Config, error) { return Parse(os.Environ(), required...) }

// Parse reads an environment in the form of os.Environ. The error names every mistake, one a line,
// each with its variable and what is allowed; it holds no secret. An unknown WAYBILL_ variable is a
// mistake, too. Parse(nil) is all defaults.
func Parse(environ []string, required ...string) (Config, error) {
	var c Config
	params, err := env.GetFieldParams(&c)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	m := new(problems)
	vars := table(environ)
	readFiles(vars, m)
	refuseUnknown(vars, params, m)
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		addParseErrors(m, err)
	}
	for _, name := range required {
		if vars[name] == "" {
			m.add(name, "required, but not set")
		}
	}
	c.check(m)
	if err := m.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func table(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		vars[name] = value
	}
	return vars
}

// readFiles sets NAME from the file that NAME_FILE names, and takes NAME_FILE away.
func readFiles(vars map[string]string, m *problems) {
	for _, name := range inFile() {
		path := vars[name+"_FILE"]
		delete(vars, name+"_FILE")
		switch {
		case path == "":
		case vars[name] != "":
			m.add(name, "set, and %s_FILE as well: want one of them", name)
		default:
			text, err := readFile(path)
			if err != nil {
				m.add(name, "%s_FILE: %v", name, err) // the first mistake of a variable is the one that is told
			}
			vars[name] = text
		}
	}
}

// readFile gives the text without the line break that editors and `echo` leave at its end.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err // names the path and what was tried
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxFile:
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	case strings.TrimSpace(string(text)) == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// serviceLink matches what Kubernetes puts into each container for a Service whose name begins with
// "waybill": it is not a mistake.
const serviceLink = `^WAYBILL(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`

func refuseUnknown(vars map[string]string, params []env.FieldParams, m *problems) {
	link := regexp.MustCompile(serviceLink)
	for name := range vars {
		known := slices.ContainsFunc(params, func(p env.FieldParams) bool { return p.Key == name })
		ours := strings.HasPrefix(name, "WAYBILL_") && !strings.HasPrefix(name, "WAYBILL_TEST_") &&
			!link.MatchString(name)
		if ours && !known && !slices.Contains(clientVariables, name) {
			m.add(name, "no such variable; docs/configuration.md lists them all")
		}
	}
}

// addParseErrors says of each value that could not be read what was wanted. Errors of our own types
// say so themselves and hold no secret; those of the standard library are replaced.
func addParseErrors(m *problems, err error) {
	var all env.AggregateError
	if !errors.As(err, &all) {
		m.add("environment", "%v", err)
		return
	}
	for _, err := range all.Errors {
		var p env.ParseError
		if !errors.As(err, &p) {
			m.add("environment", "%v", err)
			continue
		}
		m.add(variable(p.Name), "%s", wanted(p))
	}
}

func variable(field string) string {
	f, _ := reflect.TypeFor[Config]().FieldByName(field)
	return f.Tag.Get("env")
}

func wanted(p env.ParseError) string {
	switch p.Type {
	case reflect.TypeFor[int](), reflect.TypeFor[int64]():
		return "want a whole number"
	case reflect.TypeFor[float64]():
		return "want a number"
	case reflect.TypeFor[time.Duration]():
		return "want a duration like 90s, 5m or 24h"
	case reflect.TypeFor[slog.Level]():
		return "want debug, info, warn or error"
	}
	return p.Err.Error()
}
