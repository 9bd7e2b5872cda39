package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// publicPackages are what programs of others import.
func publicPackages() []string {
	return []string{"tasks", "tasks/builtin", "tasks/taskstest", "client", "server", "server/servertest"}
}

func TestPublicPackagesExportNothingOfInternal(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot("..")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	for _, dir := range publicPackages() {
		leaks, exported, err := leaksOf(root.FS(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if exported == 0 {
			t.Errorf("%s exports nothing: the wrong folder was searched", dir)
		}
		for _, leak := range leaks {
			t.Error(leak)
		}
	}
}

// leaksOf names each exported declaration of the package in dir that mentions a type, a function or
// a value of an internal package, which programs of others cannot name.
func leaksOf(tree fs.FS, dir string) (leaks []string, exported int, err error) {
	files, err := fs.Glob(tree, path.Join(dir, "*.go"))
	if err != nil {
		return nil, 0, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, 0, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, 0, err
		}
		hidden := hiddenImports(file)
		for _, decl := range file.Decls {
			for id, nodes := range exportedParts(decl) {
				exported++
				for _, n := range nodes {
					if word := mentions(n, hidden); word != "" {
						leaks = append(leaks, fmt.Sprintf("%s: %s mentions %s", name, id, word))
					}
				}
			}
		}
	}
	return leaks, exported, nil
}

// hiddenImports are the names under which a file knows packages that others cannot import.
func hiddenImports(file *ast.File) map[string]bool {
	hidden := map[string]bool{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.Contains("/"+imported+"/", "/internal/") {
			continue
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		hidden[name] = true
	}
	return hidden
}

// exportedParts are the exported things of a declaration, each with the syntax that its users see.
func exportedParts(decl ast.Decl) map[string][]ast.Node {
	parts := map[string][]ast.Node{}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && receiverIsExported(d) {
			parts[d.Name.Name] = []ast.Node{d.Type}
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					parts[s.Name.Name] = typeParts(s)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() {
						parts[name.Name] = valueParts(s)
					}
				}
			}
		}
	}
	return parts
}

func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	var first *ast.Ident
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool { // *T, T[P, R]: the type comes first
		if id, ok := n.(*ast.Ident); ok && first == nil {
			first = id
		}
		return first == nil
	})
	return first != nil && first.IsExported()
}

// typeParts leaves out the unexported fields of a struct.
func typeParts(s *ast.TypeSpec) (parts []ast.Node) {
	if s.TypeParams != nil {
		parts = append(parts, s.TypeParams)
	}
	fields, ok := s.Type.(*ast.StructType)
	if !ok {
		return append(parts, s.Type)
	}
	for _, f := range fields.Fields.List {
		seen := len(f.Names) == 0 // embedded
		for _, name := range f.Names {
			seen = seen || name.IsExported()
		}
		if seen {
			parts = append(parts, f.Type)
		}
	}
	return parts
}

// valueParts are the type of a value, or what the type follows from.
func valueParts(s *ast.ValueSpec) (parts []ast.Node) {
	if s.Type != nil {
		return []ast.Node{s.Type}
	}
	for _, v := range s.Values {
		parts = append(parts, v)
	}
	return parts
}

// mentions is the first name of a hidden package in n, such as "job.Job"; "" if there is none.
func mentions(n ast.Node, hidden map[string]bool) (word string) {
	ast.Inspect(n, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || word != "" {
			return word == ""
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && hidden[pkg.Name] {
			word = pkg.Name + "." + sel.Sel.Name
		}
		return true
	})
	return word
}

func TestLeaksAreNoticed(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`func F(j job.Job) {}`:                            "F mentions job.Job",
		`func F() []*job.Job { return nil }`:              "F mentions job.Job",
		`func f(j job.Job) {}`:                            "",
		`func F() { _ = job.NewID() }`:                    "",
		`type T struct{ J job.Job }`:                      "T mentions job.Job",
		`type T struct{ job.Job }`:                        "T mentions job.Job",
		`type T struct{ j job.Job }`:                      "",
		`type T = job.Job`:                                "T mentions job.Job",
		`type T[P job.Number] struct{}`:                   "T mentions job.Number",
		`type T interface{ M(job.Job) }`:                  "T mentions job.Job",
		`type t struct{}; func (t) M(j job.Job) {}`:       "",
		`type T[P any] struct{}; func (*T[P]) M(job.Job)`: "M mentions job.Job",
		`type t[P any] struct{}; func (*t[P]) M(job.Job)`: "",
		`var V = job.Max`:                                 "V mentions job.Max",
		`var V int = job.Max`:                             "",
		`const C = job.Max`:                               "C mentions job.Max",
		`func F(f func(other.Job)) {}`:                    "F mentions other.Job",
		`func F(g guard.Guard) {}`:                        "F mentions guard.Guard",
		`func F(c context.Context) {}`:                    "",
	} {
		imports := fmt.Sprintf("import (%q; %q; other %q; %q)\n", "context", module+"internal/job",
			module+"internal/account", module+"tasks/builtin/internal/guard")
		tree := fstest.MapFS{"client/x.go": {Data: []byte("package client\n" + imports + source + "\n")}}
		leaks, _, err := leaksOf(tree, "client")
		got := strings.TrimPrefix(strings.Join(leaks, "; "), "client/x.go: ")
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", source, got, err, want)
		}
	}
}
