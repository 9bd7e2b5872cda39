package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// pathsInInfo are the fields of Redis's INFO that tell where files lie on its machine.
var pathsInInfo = []string{"config_file", "executable"}

// correct changes an answer of asynqmon: tasks are described as their jobs are, and what the caller
// may not see is taken out. That is where Redis's files lie, and for viewers the payloads, errors
// and results of private types.
func (m *monitor) correct(ctx context.Context, path string, body []byte, viewer bool) ([]byte, error) {
	var tree any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("read asynqmon's answer: %w", err)
	}
	if path == monitorAPI+"/redis_info" {
		hidePaths(tree)
		return encode(tree)
	}
	m.describeTasks(ctx, tree)
	if viewer {
		m.viewing.hideTasks(tree)
	}
	return encode(tree)
}

func hidePaths(tree any) {
	answer, _ := tree.(map[string]any)
	info, _ := answer["info"].(map[string]any)
	for _, name := range pathsInInfo {
		delete(info, name)
	}
	raw, _ := answer["raw_info"].(string)
	var kept strings.Builder
	for line := range strings.Lines(raw) {
		name, _, _ := strings.Cut(line, ":")
		if !isPathInInfo(name) {
			kept.WriteString(line)
		}
	}
	if raw != "" {
		answer["raw_info"] = kept.String()
	}
}

func isPathInInfo(name string) bool {
	for _, p := range pathsInInfo {
		if p == name {
			return true
		}
	}
	return false
}

// hideTasks walks the whole answer: asynqmon describes tasks in several places, with two sets of
// names.
func (v viewing) hideTasks(tree any) {
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			v.hideTasks(child)
		}
	case map[string]any:
		for kind, fields := range map[string][]string{"type": {"payload", "error_message", "result"},
			"task_type": {"task_payload"}} {
			if taskType, ok := node[kind].(string); ok && v.private(taskType) {
				hideFields(node, fields)
			}
		}
		for _, child := range node {
			v.hideTasks(child)
		}
	}
}

func hideFields(node map[string]any, names []string) {
	for _, name := range names {
		if text, ok := node[name].(string); ok && text != "" {
			node[name] = hiddenText
		}
	}
}
