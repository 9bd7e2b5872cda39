// Package check holds the files for Grafana to Grafana's own published schema. It is a module of
// its own, so that these types are no dependency of Waybill: `make manifests`.
package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/grafana/grafana-foundation-sdk/go/alerting"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func TestGrafanaKnowsEveryFieldOfTheDashboards(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	files, err := filepath.Glob("../*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d dashboards, want 3 (%v)", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		wrong(t, name, d.UnmarshalJSONStrict(text))
		wrong(t, name, d.Validate())
	}
}

func TestGrafanaKnowsEveryFieldOfTheAlerts(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile("../provisioning/alerting/waybill.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Folder, Name string
			OrgID        int `yaml:"orgId"`
			Rules        []map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			rules++
			// A file says once what the API says of each rule.
			r["folderUID"], r["ruleGroup"], r["orgID"] = g.Folder, g.Name, g.OrgID
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var rule alerting.Rule
			wrong(t, r["title"], rule.UnmarshalJSONStrict(text))
			wrong(t, r["title"], rule.Validate())
		}
	}
	if rules < 10 {
		t.Errorf("only %d rules were found", rules)
	}
}

// wrong reports an error of the schema, which answers an empty list of them where all is well.
func wrong(t *testing.T, what any, err error) {
	t.Helper()
	if err != nil && err.Error() != "" {
		t.Errorf("%v: %v", what, err)
	}
}
