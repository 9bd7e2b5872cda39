package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// LookRedis finds redis-server; the error tells how to install it.
func LookRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", missing("redis-server", "redis-server", "redis")
	}
	return path, nil
}

// lookPostgres finds the directory that holds initdb and postgres: one on PATH, else the highest
// version where Debian or Homebrew put them.
func lookPostgres() (string, error) {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("look for postgres: %w", err)
		}
		slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", missing("postgres and initdb", "postgresql", "postgresql@17")
}

// version reads 15 from /usr/lib/postgresql/15/bin and 17 from /opt/homebrew/opt/postgresql@17/bin.
func version(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	n, _ := strconv.Atoi(name[strings.IndexByte(name, '@')+1:]) // 0 sorts last
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func missing(what, debian, brew string) error {
	install := "apt-get update && apt-get install -y " + debian
	switch {
	case runtime.GOOS == "darwin":
		install = "brew install " + brew
	case os.Geteuid() != 0:
		install = "sudo sh -c '" + install + "'"
	}
	return fmt.Errorf("%s not found; install with: %s", what, install)
}

// unprivileged is the user that PostgreSQL runs as where we are root, which it refuses to be; nil
// where we are not.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("read user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// environ is ours without what would lead PostgreSQL's programs elsewhere.
func environ() []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(kept, "LC_ALL=C")
}
