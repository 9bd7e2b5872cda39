package builtin

import "strings"

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// child is the JSON Pointer (RFC 6901) of a member of what parent points to.
func child(parent, name string) string { return parent + "/" + pointerEscaper.Replace(name) }
