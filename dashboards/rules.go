package dashboards

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

const generated = "# Made by `go generate ./dashboards` from the Go files there. Change those.\n"

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels"`
	Annotations annotations       `yaml:"annotations"`
}

type annotations struct {
	Summary string `yaml:"summary"`
	Runbook string `yaml:"runbook_url"`
}

// Rules is a rule file for Prometheus.
func Rules(alerts []Alert) ([]byte, error) {
	g := ruleGroup{Name: "waybill"}
	for _, a := range alerts {
		g.Rules = append(
			g.Rules,
			rule{
				Alert:       a.Name,
				Expr:        a.Expr,
				For:         prometheusTime(a.For),
				Labels:      map[string]string{"severity": string(a.Severity)},
				Annotations: annotations{a.Summary, a.Runbook()},
			},
		)
	}
	text, err := yaml.Marshal(map[string][]ruleGroup{"groups": {g}})
	if err != nil {
		return nil, fmt.Errorf("write the rules: %w", err)
	}
	return append([]byte(generated), text...), nil
}

// prometheusTime writes 15m, where time.Duration writes 15m0s; empty for none.
func prometheusTime(d time.Duration) string {
	if d == 0 {
		return ""
	}
	s := strings.TrimSuffix(d.String(), "m0s")
	if s != d.String() {
		return s + "m"
	}
	return s
}
