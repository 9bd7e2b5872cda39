package catalogue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What a schema may be, so that compiling it and checking a payload against it stays cheap.
const (
	maxSchema      = 64 << 10 // bytes
	maxSchemaDepth = 32       // schemas within schemas, references followed
	maxSchemaNodes = 10_000   // schemas, each reference counted as what it refers to
)

var (
	errForeignReference = errors.New(
		`the schema refers to another document: only references within it ("#/…") are allowed`,
	)
	errDynamicReference = errors.New("the schema uses $dynamicRef or $recursiveRef, which is not supported")
)

// schemaBound walks over a schema as the validator would for one payload. A reference to a schema
// that is being walked over ends there: what it costs depends on the payload.
type schemaBound struct {
	root    any
	nodes   map[string]int // of what a reference leads to, once it is known
	walking map[string]bool
}

// boundSchema refuses a schema that is deep, or large when its references are followed, or leads
// elsewhere.
func boundSchema(doc any) error {
	b := &schemaBound{root: doc, nodes: map[string]int{}, walking: map[string]bool{}}
	_, err := b.count(doc, 0)
	return err
}

// count is how many schemas v holds.
func (b *schemaBound) count(v any, depth int) (int, error) {
	if depth > 2*maxSchemaDepth { // an object of schemas is a level of its own in the text
		return 0, fmt.Errorf("the schema is more than %d levels deep", maxSchemaDepth)
	}
	total := 1
	add := func(v any) error {
		n, err := b.count(v, depth+1)
		if total += n; err == nil && total > maxSchemaNodes {
			err = fmt.Errorf("the schema holds more than %d schemas when its references are followed", maxSchemaNodes)
		}
		return err
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := add(item); err != nil {
				return 0, err
			}
		}
	case map[string]any:
		for name, member := range v {
			if err := b.member(name, member, depth, &total, add); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// member counts what one keyword of a schema holds.
func (b *schemaBound) member(name string, v any, depth int, total *int, add func(any) error) error {
	text, isText := v.(string)
	named, isMap := v.(map[string]any)
	switch {
	case isMap && (name == "properties" || name == "patternProperties" || name == "dependentSchemas"):
		for _, schema := range named { // by names, which are no keywords
			if err := add(schema); err != nil {
				return err
			}
		}
		return nil
	case isText && (name == "$dynamicRef" || name == "$recursiveRef"):
		return errDynamicReference
	case name == "$id" && isText, name == "$schema" && isText && text != dialect:
		return errForeignReference
	case name == "$ref" && isText:
		n, err := b.reference(text, depth)
		if *total += n; err == nil && *total > maxSchemaNodes {
			err = fmt.Errorf("the schema holds more than %d schemas when its references are followed", maxSchemaNodes)
		}
		return err
	// Nothing that is applied here.
	case name == "$defs", name == "enum", name == "const", name == "examples", name == "default":
		return nil
	}
	return add(v)
}

const dialect = "https://json-schema.org/draft/2020-12/schema"

// reference counts what a reference leads to.
func (b *schemaBound) reference(ref string, depth int) (int, error) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok || pointer != "" && pointer[0] != '/' {
		return 0, errForeignReference
	}
	if n, known := b.nodes[pointer]; known || b.walking[pointer] {
		return max(n, 1), nil
	}
	target, err := b.find(pointer)
	if err != nil {
		return 0, err
	}
	b.walking[pointer] = true
	n, err := b.count(target, depth+1)
	delete(b.walking, pointer)
	b.nodes[pointer] = n
	return n, err
}

// find follows a JSON Pointer (RFC 6901).
func (b *schemaBound) find(pointer string) (any, error) {
	at := b.root
	if pointer == "" {
		return at, nil
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v := at.(type) {
		case map[string]any:
			at = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, errors.New("the schema refers to a place that it does not have")
			}
			at = v[i]
		default:
			at = nil
		}
		if at == nil {
			return nil, errors.New("the schema refers to a place that it does not have")
		}
	}
	return at, nil
}
