package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/waybill/waybill/"

// rule says who may not import what. Folders and imports match with all below them; imports of this
// module are written without its path. Tests may import what they like.
type rule struct {
	name   string
	in     []string // the folders it binds; empty: all
	except []string // folders and files that it does not bind
	never  []string // imports; "module" is this module as a whole
	but    []string // imports that are allowed all the same
}

func rules() []rule {
	const (
		bun   = "github.com/uptrace/bun"
		asynq = "github.com/hibiken/asynq"
		mon   = "github.com/hibiken/asynqmon"
	)
	return []rule{
		{
			name:  "internal/job imports the standard library only",
			in:    []string{"internal/job", "internal/loop"},
			never: []string{"module", "external"},
		},
		{
			name:  "internal/account knows internal/job only",
			in:    []string{"internal/account"},
			never: []string{"module", "external"},
			but:   []string{"internal/job"},
		},
		{
			name: "tasks, store, dispatch, reconcile and auth know the vocabularies, not each other or their callers",
			in: []string{
				"tasks",
				"store",
				"internal/dispatch",
				"internal/reconcile",
				"internal/auth",
				"internal/asynqredis",
				"internal/redisx",
			},
			never: []string{"module"},
			but: []string{
				"internal/job", "internal/account", "internal/batch", "internal/obs", "internal/clock", "internal/loop",
				"internal/asynqredis", "internal/redisx", "own",
			},
		},
		{
			name:  "leaf packages know none of their users",
			in:    []string{"internal/batch", "internal/clock", "internal/obs", "internal/config", "internal/peer"},
			never: []string{"module"},
			but:   []string{"internal/job", "internal/account", "internal/loop", "own"},
		},
		{
			name:  "api declares the interfaces it calls; internal/app provides them",
			in:    []string{"api"},
			never: []string{"store", "internal/dispatch", "internal/reconcile", "worker", "internal/app", "cmd"},
		},
		{
			name:  "worker declares the interfaces it calls; internal/app provides them",
			in:    []string{"worker"},
			never: []string{"store", "internal/dispatch", "internal/reconcile", "api", "internal/app", "cmd"},
		},
		{
			name:  "what programs of others import is the standard library and package tasks",
			in:    []string{"client"},
			never: []string{"module", "external"},
			but:   []string{"tasks", "own"},
		},
		{
			name:   "package tasks imports the standard library only",
			in:     []string{"tasks"},
			except: []string{"tasks/builtin"},
			never:  []string{"module", "external"},
			but:    []string{"own"},
		},
		{name: "only store speaks SQL through bun", except: []string{"store"}, never: []string{bun}},
		{
			name: "only asynqredis, dispatch and worker speak asynq",
			except: []string{
				"internal/asynqredis",
				"internal/dispatch",
				"worker",
				"api/monitor*.go",
				"chaos",
				"internal/bench",
			},
			never: []string{asynq},
		},
		{name: "only api/monitor*.go mounts asynqmon", except: []string{"api/monitor*.go"}, never: []string{mon}},
		{
			name: "internal/app and the commands read the configuration and pass on what each part needs",
			except: []string{
				"internal/app",
				"internal/dev",
				"internal/command",
				"cmd",
				"internal/config",
				"chaos/poisonworker",
			},
			never: []string{"internal/config"},
		},
		{
			name:   "no program contains test servers",
			except: []string{"internal/testenv", "chaos", "bench"},
			never:  []string{"internal/testenv"},
		},
	}
}

// environment lists the functions that read it, which is for internal/config alone; programs that
// only tests run excepted.
func environment() (calls, except []string) {
	return []string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "syscall.Getenv", "syscall.Environ"},
		[]string{"internal/config", "internal/testenv", "tools/clients", "client", "examples"}
}

func TestEachPackageImportsOnlyWhatTheDesignAllows(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot("..")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	broken, files, err := check(root.FS())
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d files found: the wrong folder was searched", files)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// check walks the Go files of a tree, tests excepted, and names each breach with its rule.
func check(tree fs.FS) (broken []string, files int, err error) {
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || name != "." &&
			strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		broken = append(broken, checkImports(name, file)...)
		broken = append(broken, checkEnvironment(name, file)...)
		return nil
	})
	return broken, files, err
}

func checkImports(name string, file *ast.File) []string {
	var broken []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return []string{name + ": " + err.Error()}
		}
		for _, r := range rules() {
			if r.binds(name) && r.forbids(name, imported) {
				broken = append(broken, fmt.Sprintf("%s imports %s, but %s", name, imported, r.name))
			}
		}
	}
	return broken
}

func (r rule) binds(name string) bool {
	return (len(r.in) == 0 || within(name, r.in)) && !within(name, r.except)
}

func (r rule) forbids(name, imported string) bool {
	local, ours := strings.CutPrefix(imported, module)
	host, _, _ := strings.Cut(imported, "/")
	switch {
	case within(local, r.but),
		slices.Contains(r.but, "own") && ours && slices.ContainsFunc(r.in, func(dir string) bool {
			return within(name, []string{dir}) && within(local, []string{dir})
		}):
		return false
	case ours:
		return slices.Contains(r.never, "module") || within(local, r.never)
	}
	return slices.Contains(r.never, "external") && strings.Contains(host, ".") || within(imported, r.never)
}

// within reports whether name is one of the folders or files (path.Match patterns), or lies below
// one.
func within(name string, places []string) bool {
	return slices.ContainsFunc(places, func(p string) bool {
		matches, _ := path.Match(p, name) // our own patterns: never malformed
		return matches || strings.HasPrefix(name, p+"/")
	})
}

func checkEnvironment(name string, file *ast.File) []string {
	calls, except := environment()
	if within(name, except) {
		return nil
	}
	var broken []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(calls, pkg.Name+"."+sel.Sel.Name) {
			broken = append(
				broken,
				fmt.Sprintf(
					"%s uses %s.%s, but only internal/config reads the environment",
					name,
					pkg.Name,
					sel.Sel.Name,
				),
			)
		}
		return true
	})
	return broken
}

func TestTheRulesAreNoticedWhenBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, imported string
		broken         bool
	}{
		{"internal/job/x.go", "fmt", false},
		{"internal/job/x.go", module + "internal/account", true},
		{"internal/job/x.go", "github.com/google/uuid", true},
		{"internal/account/x.go", module + "internal/job", false},
		{"internal/account/x.go", module + "store", true},
		{"store/x.go", module + "internal/account", false},
		{"store/x.go", module + "store/migrations", false},
		{"store/x.go", module + "tasks", true},
		{"store/x.go", "github.com/uptrace/bun/dialect/pgdialect", false},
		{"tasks/x.go", module + "worker", true},
		{"internal/auth/x.go", module + "internal/dispatch", true},
		{"internal/batch/x.go", module + "store", true},
		{"api/x.go", module + "store", true},
		{"api/x.go", module + "internal/dispatch", true},
		{"api/x.go", module + "worker", true},
		{"api/x.go", module + "tasks", false},
		{"api/x_test.go", module + "store", false},
		{"api/x.go", "github.com/hibiken/asynq", true},
		{"api/monitor.go", "github.com/hibiken/asynq", false},
		{"api/monitor.go", "github.com/hibiken/asynqmon", false},
		{"api/monitor_audit.go", "github.com/hibiken/asynq", false},
		{"worker/x.go", "github.com/hibiken/asynqmon", true},
		{"worker/x.go", "github.com/hibiken/asynq", false},
		{"worker/sub/x.go", module + "api", true},
		{"worker/x.go", "github.com/uptrace/bun", true},
		{"internal/app/x.go", module + "store", false},
		{"internal/app/x.go", module + "internal/config", false},
		{"store/x.go", module + "internal/config", true},
		{"cmd/api/x.go", module + "internal/testenv", true},
		{"internal/testenv/x.go", module + "internal/testenv/server", false},
	} {
		source := fmt.Sprintf("package %s\nimport _ %q\n", path.Base(path.Dir(c.file)), c.imported)
		broken, _, err := check(fstest.MapFS{c.file: {Data: []byte(source)}})
		if err != nil || (len(broken) > 0) != c.broken {
			t.Errorf("%s importing %s: got %v, %v; broken should be %v", c.file, c.imported, broken, err, c.broken)
		}
	}
	const reads = "package x\nimport \"os\"\nvar home = os.Getenv(\"HOME\")\n"
	for file, want := range map[string]int{"api/x.go": 1, "internal/config/x.go": 0, "cmd/api/main.go": 1,
		"api/x_test.go": 0} {
		if broken, _, err := check(fstest.MapFS{file: {Data: []byte(reads)}}); err != nil || len(broken) != want {
			t.Errorf("%s reading the environment: got %v, %v, want %d breaches", file, broken, err, want)
		}
	}
}
