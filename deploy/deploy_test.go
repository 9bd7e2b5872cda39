// Package deploy_test holds the files of a deployment to each other and to what the programs expect
// of them.
package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/waybill/waybill/internal/config"
)

// settling is how long a process may take to write down what came of its jobs after the last of
// them ended.
const settling = 15 * time.Second

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// object is what these tests read of a manifest.
type object struct {
	Kind     string            `yaml:"kind"`
	Metadata metadata          `yaml:"metadata"`
	Data     map[string]string `yaml:"data"`
	Spec     struct {
		Template    template       `yaml:"template"`
		PodSelector map[string]any `yaml:"podSelector"`
		Triggers    []struct {
			Metadata map[string]string `yaml:"metadata"`
		} `yaml:"triggers"`
	} `yaml:"spec"`
}

type metadata struct {
	Name   string            `yaml:"name"`
	Labels map[string]string `yaml:"labels"`
}

type template struct {
	Metadata metadata `yaml:"metadata"`
	Spec     struct {
		Grace int  `yaml:"terminationGracePeriodSeconds"`
		Token bool `yaml:"automountServiceAccountToken"`

		Containers []container `yaml:"containers"`
	} `yaml:"spec"`
}

type container struct {
	Name      string   `yaml:"name"`
	Liveness  probe    `yaml:"livenessProbe"`
	Readiness probe    `yaml:"readinessProbe"`
	Security  security `yaml:"securityContext"`
	Resources struct {
		Requests map[string]string `yaml:"requests"`
		Limits   map[string]string `yaml:"limits"`
	} `yaml:"resources"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
	} `yaml:"httpGet"`
}

type security struct {
	Escalation   *bool `yaml:"allowPrivilegeEscalation"`
	ReadOnlyRoot bool  `yaml:"readOnlyRootFilesystem"`
	Capabilities struct {
		Drop []string `yaml:"drop"`
	} `yaml:"capabilities"`
}

// manifests reads every object below deploy/kubernetes.
func manifests(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*/*.yaml")
	more, _ := filepath.Glob("kubernetes/*/*/*.yaml")
	if err != nil || len(files) == 0 || len(more) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	found := map[string]object{}
	for _, file := range append(files, more...) {
		for _, doc := range strings.Split(read(t, file), "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			found[o.Kind+"/"+o.Metadata.Name] = o
		}
	}
	return found
}

// settings reads a ConfigMap as the programs would.
func settings(t *testing.T, data map[string]string) config.Config {
	t.Helper()
	var environ []string
	for name, value := range data {
		environ = append(environ, name+"="+value)
	}
	cfg, err := config.Parse(environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// longestStop is how long a worker may take to stop.
func longestStop(cfg config.Config) time.Duration {
	return cfg.ShutdownGrace + 2*cfg.CancelGrace + settling
}

func TestAWorkerIsNotKilledWhileItDrains(t *testing.T) {
	t.Parallel()
	objects := manifests(t)
	cfg := settings(t, objects["ConfigMap/waybill"].Data)
	grace := time.Duration(objects["Deployment/worker"].Spec.Template.Spec.Grace) * time.Second
	if need := longestStop(cfg); grace < need {
		t.Errorf("Kubernetes: terminationGracePeriodSeconds is %v, want %v at least", grace, need)
	}
	match := regexp.MustCompile(`stop_grace_period: \$\{STOP_GRACE_PERIOD:-([^}]+)\}`).
		FindStringSubmatch(read(t, "../docker-compose.yml"))
	if match == nil {
		t.Fatal("docker-compose.yml: no stop_grace_period for workers")
	}
	grace, err := time.ParseDuration(match[1])
	if need := longestStop(settings(t, nil)); err != nil || grace < need {
		t.Errorf("docker compose: stop_grace_period is %v (%v), want %v at least", grace, err, need)
	}
}

func TestEachPodRunsWithoutPrivileges(t *testing.T) {
	t.Parallel()
	pods := 0
	for name, o := range manifests(t) {
		for _, c := range o.Spec.Template.Spec.Containers {
			pods++
			if s := c.Security; s.Escalation == nil || *s.Escalation || !s.ReadOnlyRoot ||
				!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("%s: container %s may do more than it needs: %+v", name, c.Name, s)
			}
			if c.Resources.Limits["memory"] == "" || c.Resources.Requests["cpu"] == "" ||
				c.Resources.Requests["memory"] == "" {
				t.Errorf("%s: container %s says not what it needs: %+v", name, c.Name, c.Resources)
			}
			if o.Kind == "Deployment" &&
				(c.Liveness.HTTPGet.Path != "/healthz" || c.Readiness.HTTPGet.Path != "/readyz") {
				t.Errorf("%s: liveness asks %q, readiness %q", name, c.Liveness.HTTPGet.Path, c.Readiness.HTTPGet.Path)
			}
		}
	}
	if pods != 3 {
		t.Errorf("%d containers were looked at, want api, worker and migrate", pods)
	}
}

func TestWorkersAreScaledByTheirSlots(t *testing.T) {
	t.Parallel()
	objects := manifests(t)
	slots := settings(t, objects["ConfigMap/waybill"].Data).Concurrency
	triggers := objects["ScaledObject/worker"].Spec.Triggers
	if len(triggers) != 1 {
		t.Fatalf("%d triggers", len(triggers))
	}
	if got, want := triggers[0].Metadata["threshold"], strconv.Itoa(slots*3/4); got != want {
		t.Errorf("the threshold is %s, want three quarters of %d slots, %s", got, slots, want)
	}
}

func TestTheImagesShareOneBuild(t *testing.T) {
	t.Parallel()
	var builds []string
	for _, file := range []string{"../Dockerfile.api", "../Dockerfile.worker"} {
		text := read(t, file)
		build := text[strings.Index(text, "FROM "):strings.LastIndex(text, "FROM ")]
		builds = append(builds, build)
		final := text[strings.LastIndex(text, "FROM "):]
		for _, want := range []string{"static-debian12:nonroot", "USER 65532:65532", "HEALTHCHECK ", `"healthcheck"]`,
			"ENTRYPOINT ["} {
			if !strings.Contains(final, want) {
				t.Errorf("%s lacks %s", file, want)
			}
		}
	}
	if builds[0] != builds[1] {
		t.Error("the first stages differ: everything would be compiled twice")
	}
}

func TestTheImagesCompileNothingInAdvanceThatIsNotNeeded(t *testing.T) {
	t.Parallel()
	text := read(t, "../Dockerfile.api")
	_, rest, _ := strings.Cut(text, "RUN go build \\\n")
	list, _, _ := strings.Cut(rest, "\nCOPY . .")
	packages := regexp.MustCompile(`[a-z0-9.]+\.[a-z]+/[^\s\\]+`).FindAllString(list, -1)
	if len(packages) < 10 {
		t.Fatalf("the layer of dependencies names %q", packages)
	}
	required := regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllStringSubmatch(read(t, "../go.mod"), -1)
	for _, p := range packages {
		if !slices.ContainsFunc(
			required,
			func(m []string) bool { return p == m[1] || strings.HasPrefix(p, m[1]+"/") },
		) {
			t.Errorf("%s is built, and go.mod requires no module of it: the images cannot be built", p)
		}
	}
}
