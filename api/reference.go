package api

import (
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/waybill/waybill/internal/job"
)

// reference is openapi.yaml as the page shows it.
type reference struct {
	Version, PublicURL string
	Style              template.CSS

	Title, Summary string
	Description    []string // paragraphs
	Groups         []group
	Schemas        []schemaView
	Problems       []problemView
}

type group struct {
	Name, Description, Anchor string
	Operations                []operation
}

type operation struct {
	ID, Method, Path, Summary string
	Description               []string
	Open                      bool // anybody may call it
	Parameters                []fieldView
	Bodies                    []bodyView
	Answers                   []answerView
}

type bodyView struct {
	MediaType string
	Schema    schemaView
	Examples  []exampleView
}

type exampleView struct{ Summary, JSON string }

type answerView struct {
	Status, Description string
	Headers             []string
	Bodies              []bodyView
}

// schemaView is a schema: a type in words, and its fields where it is an object.
type schemaView struct {
	Name, Type  string
	Description string
	Link        string // the anchor of the schema it refers to
	Fields      []fieldView
}

type fieldView struct {
	Name, In    string
	Required    bool
	Schema      schemaView
	Description string
}

type problemView struct {
	Anchor, Code, Title string
	Status              int
}

// node is a mapping of the file, in its order.
type node yaml.MapSlice

func (n node) get(key string) any {
	for _, item := range n {
		if fmt.Sprint(item.Key) == key {
			return item.Value
		}
	}
	return nil
}

func (n node) text(key string) string {
	if v := n.get(key); v != nil {
		return strings.TrimSpace(fmt.Sprint(v))
	}
	return ""
}

func (n node) node(key string) node { return toNode(n.get(key)) }

func (n node) list(key string) []any {
	l, _ := n.get(key).([]any)
	return l
}

func toNode(v any) node {
	m, _ := v.(yaml.MapSlice)
	return node(m)
}

// document is the whole file; it resolves references within itself.
type document struct {
	root node
	err  error // of the first reference that leads nowhere
}

func readReference(text []byte) (*reference, error) {
	var root yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &root, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	d := &document{root: node(root)}
	info := d.root.node("info")
	r := &reference{Title: info.text("title"), Summary: info.text("summary"), Description: paragraphs(info.text("description"))}
	d.readGroups(r)
	for _, item := range d.root.node("components").node("schemas") {
		s := d.schema(toNode(item.Value))
		s.Name = fmt.Sprint(item.Key)
		r.Schemas = append(r.Schemas, s)
	}
	d.readProblems(r)
	return r, d.err
}

func (d *document) readGroups(r *reference) {
	for _, t := range d.root.list("tags") {
		tag := toNode(t)
		r.Groups = append(r.Groups, group{Name: tag.text("name"), Description: tag.text("description"),
			Anchor: strings.ToLower(strings.ReplaceAll(tag.text("name"), " ", "-"))})
	}
	for _, path := range d.root.node("paths") {
		for _, method := range toNode(path.Value) {
			n := toNode(method.Value)
			op := d.operation(strings.ToUpper(fmt.Sprint(method.Key)), fmt.Sprint(path.Key), n)
			i := slices.IndexFunc(r.Groups, func(g group) bool { return len(n.list("tags")) == 1 && g.Name == n.list("tags")[0] })
			if i < 0 {
				d.fail("%s %s has no tag that is listed", op.Method, op.Path)
				return
			}
			r.Groups[i].Operations = append(r.Groups[i].Operations, op)
		}
	}
}

// readProblems explains the codes: each problem's type leads to its row.
func (d *document) readProblems(r *reference) {
	problem := d.root.node("components").node("schemas").node("Problem")
	for _, code := range problem.node("properties").node("code").list("enum") {
		view := problemView{Code: fmt.Sprint(code)}
		view.Anchor = "problem-" + strings.ReplaceAll(view.Code, "_", "-")
		view.Status, view.Title = kind(job.Code(view.Code))
		r.Problems = append(r.Problems, view)
	}
}

func (d *document) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// resolve follows a reference within the file, and returns what it leads to and its last name.
func (d *document) resolve(n node) (node, string) {
	ref := n.text("$ref")
	if ref == "" {
		return n, ""
	}
	target, name := d.root, ""
	for _, name = range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		target = target.node(name)
	}
	if target == nil {
		d.fail("%s leads nowhere", ref)
	}
	return target, name
}

func (d *document) operation(method, path string, n node) operation {
	security, secured := n.get("security").([]any)
	op := operation{
		ID: n.text("operationId"), Method: method, Path: path, Summary: n.text("summary"),
		Description: paragraphs(n.text("description")), Open: secured && len(security) == 0,
	}
	for _, p := range n.list("parameters") {
		op.Parameters = append(op.Parameters, d.parameter(toNode(p)))
	}
	body, _ := d.resolve(n.node("requestBody"))
	op.Bodies = d.bodies(body.node("content"))
	for _, item := range n.node("responses") {
		answer, _ := d.resolve(toNode(item.Value))
		view := answerView{Status: fmt.Sprint(item.Key), Description: answer.text("description")}
		for _, h := range answer.node("headers") {
			view.Headers = append(view.Headers, fmt.Sprint(h.Key))
		}
		view.Bodies = d.bodies(answer.node("content"))
		op.Answers = append(op.Answers, view)
	}
	return op
}

func (d *document) parameter(n node) fieldView {
	p, _ := d.resolve(n)
	s := d.schema(p.node("schema"))
	return fieldView{Name: p.text("name"), In: p.text("in"), Required: p.text("required") == "true", Schema: s,
		Description: orElse(p.text("description"), s.Description)}
}

func (d *document) bodies(content node) []bodyView {
	var views []bodyView
	for _, item := range content {
		n := toNode(item.Value)
		view := bodyView{MediaType: fmt.Sprint(item.Key), Schema: d.schema(n.node("schema"))}
		if v := n.get("example"); v != nil {
			view.Examples = append(view.Examples, exampleView{JSON: pretty(v)})
		}
		for _, e := range n.node("examples") {
			example := toNode(e.Value)
			view.Examples = append(view.Examples, exampleView{Summary: example.text("summary"), JSON: pretty(example.get("value"))})
		}
		views = append(views, view)
	}
	return views
}

// schema shows n; what it refers to is linked rather than shown again.
func (d *document) schema(n node) schemaView {
	target, name := d.resolve(n)
	view := schemaView{Name: name, Type: d.typeOf(target), Description: target.text("description")}
	if name != "" && n.text("$ref") == "#/components/schemas/"+name {
		view.Link = name
		return view
	}
	required := target.list("required")
	for _, item := range target.node("properties") {
		s := d.schema(toNode(item.Value))
		view.Fields = append(view.Fields, fieldView{Name: fmt.Sprint(item.Key), Schema: s, Description: s.Description,
			Required: slices.Contains(required, any(item.Key))})
	}
	return view
}

// typeOf says in words what values n takes.
func (d *document) typeOf(n node) string {
	if values := n.list("enum"); len(values) > 0 {
		return words(values)
	}
	if v := n.get("const"); v != nil {
		return fmt.Sprint(v)
	}
	t := orElse(n.text("type"), "any value")
	if types := n.list("type"); len(types) > 0 {
		t = words(types)
	}
	if t == "array" {
		items := d.schema(n.node("items"))
		t = "array of " + orElse(items.Link, items.Type)
	}
	if f := n.text("format"); f != "" {
		t += ", " + f
	}
	for _, limit := range []struct{ key, format string }{
		{"minimum", ", from %s"}, {"maximum", ", to %s"}, {"minLength", ", at least %s characters"},
		{"maxLength", ", at most %s characters"}, {"minItems", ", at least %s"}, {"maxItems", ", at most %s"},
		{"default", ", %s where not given"},
	} {
		if v := n.text(limit.key); v != "" {
			t += fmt.Sprintf(limit.format, v)
		}
	}
	return t
}

func words(values []any) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprint(v)
		if v == nil {
			list[i] = "null"
		}
	}
	return strings.Join(list, " | ")
}

func paragraphs(text string) []string {
	var list []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			list = append(list, p)
		}
	}
	return list
}

// pretty is an example as people like to read it: text as it is, everything else as indented JSON in its order.
func pretty(v any) string {
	if text, ok := v.(string); ok {
		return strings.TrimSpace(text)
	}
	compact, err := yaml.MarshalWithOptions(v, yaml.JSON())
	if err != nil {
		return fmt.Sprint(v)
	}
	var indented strings.Builder
	enc := json.NewEncoder(&indented)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(strings.TrimSpace(string(compact)))); err != nil {
		return string(compact)
	}
	return strings.TrimSpace(indented.String())
}
