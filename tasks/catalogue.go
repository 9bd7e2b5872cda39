// Package tasks is the catalogue of work: one file per task type, with its payload, its defaults and its handler. The API
// asks it what may be submitted and checks payloads against it; the worker asks it to run what was submitted.
package tasks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Catalogue holds the registered task types. Register everything first: from then on it may be read by any number of
// goroutines.
type Catalogue struct {
	types map[string]*Type
}

// NewCatalogue makes an empty one.
func NewCatalogue() *Catalogue { return &Catalogue{types: map[string]*Type{}} }

// Register adds a task type. It refuses a name that is bad or taken, defaults beyond a job's limits, a missing handler, and a
// payload that is not a JSON object.
func Register[P any](c *Catalogue, d Definition[P]) error {
	t, err := newType(d)
	if err != nil {
		return fmt.Errorf("register task type %q: %w", d.Name, err)
	}
	if _, taken := c.types[d.Name]; taken {
		return fmt.Errorf("register task type %q: the name is taken", d.Name)
	}
	c.types[d.Name] = t
	return nil
}

func newType[P any](d Definition[P]) (*Type, error) {
	if err := checkName(d.Name); err != nil {
		return nil, err
	}
	if d.Handle == nil {
		return nil, errors.New("it has no handler")
	}
	defaults := d.Defaults.filled()
	if err := defaults.check(); err != nil {
		return nil, err
	}
	text, schema, err := schemaOf[P]()
	if err != nil {
		return nil, err
	}
	example, err := encode(d.Example)
	if err != nil {
		return nil, fmt.Errorf("encode the example: %w", err)
	}
	return &Type{Name: d.Name, Description: d.Description, Defaults: defaults, Private: d.Private,
		Schema: text, Example: example, schema: schema, fit: fitOf(text), check: checker(d), handle: handler(d)}, nil
}

// Lookup finds a type by its exact name.
func (c *Catalogue) Lookup(name string) (*Type, bool) {
	t, ok := c.types[name]
	return t, ok
}

// Types lists every type by name.
func (c *Catalogue) Types() []*Type {
	list := make([]*Type, 0, len(c.types))
	for _, name := range slices.Sorted(maps.Keys(c.types)) {
		list = append(list, c.types[name])
	}
	return list
}
