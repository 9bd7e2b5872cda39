// Package catalogue holds the task types of a process in the form that the API and the worker need:
// defaults filled in, payload schemas generated and compiled. Public task types (package tasks)
// know nothing of it.
package catalogue

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/waybill/waybill/tasks"
)

// Catalogue maps the name of each task type to its compiled form. It is filled first; from then on
// any number of goroutines may read it.
type Catalogue struct {
	types map[string]*Type
	mw    []tasks.Middleware
}

// New compiles types. It names every type that cannot be offered: a bad or taken name, defaults
// beyond the limits of a job, a payload that is not a JSON object.
func New(types ...tasks.Type) (*Catalogue, error) {
	c := &Catalogue{types: make(map[string]*Type, len(types))}
	return c, c.Add(types...)
}

// Add compiles further types, as New does.
func (c *Catalogue) Add(types ...tasks.Type) error {
	var errs []error
	for _, t := range types {
		if err := c.add(t.Spec()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Catalogue) add(spec tasks.Spec) error {
	if known, ok := c.types[spec.Name]; ok && !known.completedBy(spec) {
		return fmt.Errorf(
			"task type %q is there twice, with the payloads %s and %s",
			spec.Name,
			known.spec.Payload,
			spec.Payload,
		)
	}
	t, err := compileType(spec)
	if err != nil {
		return fmt.Errorf("task type %q: %w", spec.Name, err)
	}
	t.use(c.mw)
	c.types[spec.Name] = t
	return nil
}

// Use wraps the handlers of all types, those that are added later too; the first is the outermost.
// It is called once.
func (c *Catalogue) Use(mw ...tasks.Middleware) {
	c.mw = mw
	for _, t := range c.types {
		t.use(mw)
	}
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
