package api

import "html/template"

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
	Open                      bool // it needs no authentication
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
