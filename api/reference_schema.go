package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

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

// pretty is an example as people like to read it: text as it is, everything else as indented JSON
// in its order.
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
