package command

import (
	"fmt"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a script that completes commands and flags. The script holds the words themselves, so
// that completing starts no process.
func (c *completionCommand) Run(s *streams, p *Program, k *kong.Kong) error {
	data := struct {
		Name, Func string
		Words      []completionWords
	}{p.name(), strings.NewReplacer("-", "_", ".", "_").Replace(p.name()), wordsOf(k.Model.Node, nil)}
	return completionScripts[c.Shell].Execute(s.out, data)
}

// completionWords are the words that may follow some commands.
type completionWords struct {
	Path  string // "jobs submit"; "" is the program alone
	Words []completionWord
}

type completionWord struct{ Word, Help string }

func wordsOf(n *kong.Node, path []string) []completionWords {
	own := completionWords{Path: strings.Join(path, " ")}
	var below []completionWords
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		own.Words = append(own.Words, completionWord{child.Name, child.Help})
		below = append(below, wordsOf(child, append(path[:len(path):len(path)], child.Name))...)
	}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			own.Words = append(own.Words, completionWord{"--" + f.Name, f.Help})
		}
	}
	for _, a := range n.Positional {
		for _, v := range a.EnumSlice() {
			if v != "" {
				own.Words = append(own.Words, completionWord{v, ""})
			}
		}
	}
	return append([]completionWords{own}, below...)
}

// quoted is a word for the shells' single quotes, which bash, zsh and fish close differently: no
// help text of ours needs one.
func quoted(text string) string {
	return "'" + strings.NewReplacer("'", "\u2019", "\n", " ").Replace(text) + "'"
}

var completionScripts = map[string]*template.Template{
	"bash": completionScript(`_{{.Func}}() {
	local current=${COMP_WORDS[COMP_CWORD]} path= word
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in -*) ;; *) path=${path:+$path }$word ;; esac
	done
	local words=
	case $path in
{{range .Words}}	{{quoted .Path}}) words='{{range .Words}}{{.Word}} {{end}}' ;;
{{end}}	esac
	COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _{{.Func}} {{.Name}}
`),
	"zsh": completionScript(`#compdef {{.Name}}
_{{.Func}}() {
	local path= word
	local -a list
	for word in "${(@)words[2,CURRENT-1]}"; do
		case $word in -*) ;; *) path=${path:+$path }$word ;; esac
	done
	case $path in
{{range .Words}}	{{quoted .Path}}) list=({{range .Words}}{{quoted (print .Word ":" .Help)}} {{end}}) ;;
{{end}}	esac
	_describe {{.Name}} list || _files
}
compdef _{{.Func}} {{.Name}}
`),
	"fish": completionScript(`function __{{.Func}}_path
	set -l words
	for word in (commandline -opc)[2..]
		string match -q -- '-*' $word; or set -a words $word
	end
	echo "$words"
end
complete -c {{.Name}} -e
{{range $w := .Words}}{{range .Words}}complete -c {{$.Name}} -n 'test (__{{$.Func}}_path) = "{{$w.Path}}"' -a {{quoted .Word}} -d {{quoted .Help}}
{{end}}{{end}}`),
}

func completionScript(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"quoted": quoted, "print": fmt.Sprint}).Parse(text))
}
