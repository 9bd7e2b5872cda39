package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/waybill/waybill/internal/job"
)

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
	r := &reference{
		Title:       info.text("title"),
		Summary:     info.text("summary"),
		Description: paragraphs(info.text("description")),
	}
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
			i := slices.IndexFunc(
				r.Groups,
				func(g group) bool { return len(n.list("tags")) == 1 && g.Name == n.list("tags")[0] },
			)
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
			view.Examples = append(
				view.Examples,
				exampleView{Summary: example.text("summary"), JSON: pretty(example.get("value"))},
			)
		}
		views = append(views, view)
	}
	return views
}
