package dashboards

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// datasource is the uid of the data source that provisioning/datasources names.
const datasource = "waybill-prometheus"

type grafanaRule struct {
	UID          string            `yaml:"uid"`
	Title        string            `yaml:"title"`
	Condition    string            `yaml:"condition"`
	For          string            `yaml:"for"`
	NoDataState  string            `yaml:"noDataState"`
	ExecErrState string            `yaml:"execErrState"`
	Labels       map[string]string `yaml:"labels"`
	Annotations  annotations       `yaml:"annotations"`
	Data         []grafanaQuery    `yaml:"data"`
}

type grafanaQuery struct {
	RefID         string         `yaml:"refId"`
	TimeRange     map[string]int `yaml:"relativeTimeRange"`
	DatasourceUID string         `yaml:"datasourceUid"`
	Model         map[string]any `yaml:"model"`
}

// grafanaAlerts is a provisioning file for Grafana. A rule of Prometheus is true where it answers
// any sample, whatever its value; Grafana wants a number to compare: A asks for the samples, B
// counts each as 1.
func grafanaAlerts(alerts []Alert) ([]byte, error) {
	var rules []grafanaRule
	for _, a := range alerts {
		wait := prometheusTime(a.For)
		if wait == "" {
			wait = "0s"
		}
		rules = append(rules, grafanaRule{
			UID: anchor(a.Name), Title: a.Name, Condition: "C", For: wait, NoDataState: "OK", ExecErrState: "Error",
			Labels: map[string]string{
				"severity": string(a.Severity),
			}, Annotations: annotations{grafanaText(a.Summary), a.Runbook()},
			Data: []grafanaQuery{
				query("A", datasource, map[string]any{"expr": a.Expr, "instant": true, "range": false}),
				query(
					"B",
					datasource,
					map[string]any{"expr": "clamp(" + a.Expr + ", 1, 1)", "instant": true, "range": false},
				),
				query("C", "__expr__", map[string]any{"type": "threshold", "expression": "B", "conditions": []any{
					map[string]any{"evaluator": map[string]any{"type": "gt", "params": []int{0}}},
				}}),
			},
		})
	}
	text, err := yaml.Marshal(map[string]any{"apiVersion": 1, "groups": []any{map[string]any{
		"orgId": 1, "name": "waybill", "folder": "Waybill", "interval": "30s", "rules": rules,
	}}})
	if err != nil {
		return nil, fmt.Errorf("write Grafana's alerts: %w", err)
	}
	return append([]byte(generated), text...), nil
}

func query(ref, source string, model map[string]any) grafanaQuery {
	model["refId"] = ref
	return grafanaQuery{
		RefID:         ref,
		TimeRange:     map[string]int{"from": 600, "to": 0},
		DatasourceUID: source,
		Model:         model,
	}
}

// grafanaText turns Prometheus's {{ $value }} into Grafana's, which is a text about all queries.
func grafanaText(s string) string {
	return strings.ReplaceAll(s, "{{ $value", "{{ $values.A.Value")
}
