package dashboards

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheGeneratedFilesAreThoseOfTheSource(t *testing.T) {
	t.Parallel()
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale (%v): run go generate ./dashboards", name, err)
		}
	}
	for _, pattern := range []string{"*.json", "rules/*", "provisioning/alerting/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if files[name] == nil {
				t.Errorf("%s is not made by anything", name)
			}
		}
	}
}

func TestEveryAlertHasItsSectionInTheRunbooks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^## (Waybill\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections = append(sections, m[1])
	}
	var names []string
	for _, a := range Alerts() {
		names = append(names, a.Name)
		if want := runbooks + "#" + strings.ToLower(a.Name); a.Runbook() != want {
			t.Errorf("%s links %s, want %s", a.Name, a.Runbook(), want)
		}
	}
	if got, want := strings.Join(sections, "\n"), strings.Join(names, "\n"); got != want {
		t.Errorf("the sections are\n%s\nthe alerts are\n%s", got, want)
	}
}

func TestGrafanaKnowsTheDataSourceThatPanelsAndAlertsAsk(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("provisioning/datasources/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "uid: "+datasource+"\n") {
		t.Errorf("it does not provide %s", datasource)
	}
}

func TestPanelsDoNotOverlapAndFillTheirRows(t *testing.T) {
	t.Parallel()
	for _, d := range Dashboards() {
		taken := map[string]string{}
		for _, p := range d.panels() {
			pos := p["gridPos"].(object)
			x, y, w, h := pos["x"].(int), pos["y"].(int), pos["w"].(int), pos["h"].(int)
			if x+w > columns || w < 3 {
				t.Errorf("%s: %q lies at %d and is %d wide", d.Name, p["title"], x, w)
			}
			for cx := x; cx < x+w; cx++ {
				for cy := y; cy < y+h; cy++ {
					cell := fmt.Sprint(cx, " ", cy)
					if other := taken[cell]; other != "" {
						t.Fatalf("%s: %q lies on %q", d.Name, p["title"], other)
					}
					taken[cell] = fmt.Sprint(p["title"])
				}
			}
		}
	}
}

func TestPrometheusTakesItsConfigurationAndRules(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "config", "../prometheus.yml")
}

// promtool fails the test where it does.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing; install it, on Debian with: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
