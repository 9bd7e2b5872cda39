package catalogue

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	reflector "github.com/invopop/jsonschema"
)

// reflectSchema makes a schema of a Go type. Types that refer to themselves are described with
// $defs, all others where they stand. A type that JSON cannot carry is refused, with the path to
// it.
func reflectSchema(t reflect.Type) (s *reflector.Schema, err error) {
	shape := &shape{onPath: map[reflect.Type]bool{}, done: map[reflect.Type]bool{}}
	if err := shape.visit(t, t.String()); err != nil {
		return nil, err
	}
	defer func() { // the library panics at what it does not know
		if v := recover(); v != nil {
			err = fmt.Errorf("its payload %s cannot be described as a JSON Schema: %v", t, v)
		}
	}()
	r := &reflector.Reflector{
		Anonymous:      true,
		ExpandedStruct: !shape.recursive,
		DoNotReference: !shape.recursive,
		Mapper:         mapType,
		Namer:          namer(),
	}
	s = r.ReflectFromType(t)
	if shape.recursive {
		s = expandRoot(s)
	}
	return s, nil
}

// expandRoot puts the payload's own definition at the root, where readers look for it, and keeps it
// among the others, which refer to it.
func expandRoot(s *reflector.Schema) *reflector.Schema {
	root, ok := s.Definitions[strings.TrimPrefix(s.Ref, "#/$defs/")]
	if !ok {
		return s
	}
	whole := *root
	whole.Version, whole.Definitions = s.Version, s.Definitions
	return &whole
}

var noName = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// namer gives each type a name of its own under $defs, though several packages may have one of that
// name.
func namer() func(reflect.Type) string {
	names, taken := map[reflect.Type]string{}, map[string]bool{}
	return func(t reflect.Type) string {
		if name, ok := names[t]; ok || t.Name() == "" {
			return name
		}
		name := noName.ReplaceAllString(t.Name(), "_")
		for base, n := name, 2; taken[name]; n++ {
			name = fmt.Sprint(base, n)
		}
		names[t], taken[name] = name, true
		return name
	}
}

var (
	rawType    = reflect.TypeFor[json.RawMessage]()
	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()
	urlType    = reflect.TypeFor[url.URL]()
)

// mapType describes types that encode themselves as encoding/json sees them; nil: the reflector
// knows what to say.
func mapType(t reflect.Type) *reflector.Schema {
	switch {
	case t == rawType, t == timeType, describesItself(t):
		return nil
	case t == numberType:
		return &reflector.Schema{Type: "number"}
	case reads[json.Unmarshaler](t):
		return &reflector.Schema{} // any value: only the type itself knows
	case reads[encoding.TextUnmarshaler](t):
		return &reflector.Schema{Type: "string"}
	}
	return nil
}

// describesItself reports whether t brings a schema of its own, as the reflector asks for it.
func describesItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[interface{ JSONSchema() *reflector.Schema }]()) ||
		t.Implements(reflect.TypeFor[interface{ JSONSchemaAlias() any }]())
}

// reads reports whether a value of t, or a pointer to one, is an I.
func reads[I any](t reflect.Type) bool {
	i := reflect.TypeFor[I]()
	return t.Kind() != reflect.Interface && (t.Implements(i) || reflect.PointerTo(t).Implements(i))
}

// shape looks at a payload's type before it is described.
type shape struct {
	recursive    bool
	onPath, done map[reflect.Type]bool
}

// visit looks at t, which stands at path.
func (s *shape) visit(t reflect.Type, path string) error {
	switch {
	case s.onPath[t]:
		s.recursive = true
		return nil
	case t == urlType:
		return fmt.Errorf("its payload's %s is a url.URL, which JSON carries as its inner fields: use a string", path)
	case s.done[t],
		t == rawType,
		t == timeType,
		t == numberType,
		describesItself(t),
		reads[json.Unmarshaler](t),
		reads[encoding.TextUnmarshaler](t):
		return nil
	}
	s.onPath[t] = true
	defer func() {
		delete(s.onPath, t)
		s.done[t] = true
	}()
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Errorf("its payload's %s is a %s, which JSON cannot carry", path, t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("its payload's %s is the interface %s, which cannot be decoded", path, t)
		}
	case reflect.Pointer:
		return s.visit(t.Elem(), path)
	case reflect.Slice, reflect.Array:
		return s.visit(t.Elem(), path+"[]")
	case reflect.Map:
		if k := t.Key(); !isKey(k) {
			return fmt.Errorf("its payload's %s is a map by %s, which JSON cannot carry", path, k)
		}
		return s.visit(t.Elem(), path+"[]")
	case reflect.Struct:
		return s.visitFields(t, path)
	}
	return nil
}

func (s *shape) visitFields(t reflect.Type, path string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if err := s.visit(f.Type, path+"."+f.Name); err != nil {
			return err
		}
	}
	return nil
}

// isKey reports whether encoding/json takes k as the key of a map.
func isKey(k reflect.Type) bool {
	switch k.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return reads[encoding.TextUnmarshaler](k)
}
