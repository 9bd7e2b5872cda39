package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// secrets are what has to be set before `docker compose up`.
var secrets = []string{"WAYBILL_JWT_KEYS", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}

// makeEnv runs the script in a copy of the tree's part that it needs, and answers what .env says
// then.
func makeEnv(t *testing.T, dir string) map[string]string {
	t.Helper()
	if out, err := exec.Command(filepath.Join(dir, "deploy/make-env")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	values := map[string]string{}
	for line := range strings.Lines(read(t, filepath.Join(dir, ".env"))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			values[name] = value
		}
	}
	return values
}

func copyTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{".env.example", "deploy/make-env"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(read(t, filepath.Join("..", file))),
			0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMakeEnvFillsEverySecretOnce(t *testing.T) {
	t.Parallel()
	dir := copyTree(t)
	first := makeEnv(t, dir)
	for _, name := range secrets {
		if len(first[name]) < 40 {
			t.Errorf("%s is %q", name, first[name])
		}
	}
	if info, err := os.Stat(filepath.Join(dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read .env: %v, %v", info, err)
	}
	settings(t, map[string]string{"WAYBILL_JWT_KEYS": first["WAYBILL_JWT_KEYS"]})
	again := makeEnv(t, dir)
	for _, name := range secrets {
		if again[name] != first[name] {
			t.Errorf("%s was replaced", name)
		}
	}
	if other := makeEnv(t, copyTree(t)); other["POSTGRES_PASSWORD"] == first["POSTGRES_PASSWORD"] {
		t.Error("the same password twice")
	}
}

func TestMakeEnvKnowsWhatDockerComposeDemands(t *testing.T) {
	t.Parallel()
	values := makeEnv(t, copyTree(t))
	if err := yaml.Unmarshal([]byte(read(t, "../docker-compose.yml")), new(any)); err != nil {
		t.Fatal(err)
	}
	demanded := regexp.MustCompile(`\$\{([A-Z_]+):\?`).FindAllStringSubmatch(read(t, "../docker-compose.yml"), -1)
	if len(demanded) == 0 {
		t.Fatal("docker-compose.yml demands nothing")
	}
	for _, match := range demanded {
		if values[match[1]] == "" {
			t.Errorf("docker-compose.yml demands %s, which is empty", match[1])
		}
	}
}

func TestMakeEnvWritesSettings(t *testing.T) {
	t.Parallel()
	dir := copyTree(t)
	for _, want := range []string{"4", "8", `a&b|\n`} {
		if out, err := exec.Command(filepath.Join(dir, "deploy/make-env"), "WORKER_REPLICAS="+want,
			"NEW_SETTING=x").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text := read(t, filepath.Join(dir, ".env"))
		if strings.Count(text, "WORKER_REPLICAS=") != 1 || !strings.Contains(text, "\nWORKER_REPLICAS="+want+"\n") ||
			strings.Count(text, "NEW_SETTING=x\n") != 1 {
			t.Errorf("want %s: %s", want, text)
		}
	}
	if out, err := exec.Command(filepath.Join(dir, "deploy/make-env"), "nonsense").CombinedOutput(); err == nil {
		t.Errorf("it takes nonsense: %s", out)
	}
}

// An upgrade, which is `docker compose up` as it stands in the documentation, keeps as many workers
// as there were.
func TestTheNumberOfWorkersStandsInTheEnvironmentFile(t *testing.T) {
	t.Parallel()
	compose := struct {
		Services map[string]struct {
			Deploy struct{ Replicas string }
		}
	}{}
	if err := yaml.UnmarshalWithOptions([]byte(read(t, "../docker-compose.yml")), &compose,
		yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if got := compose.Services["worker"].Deploy.Replicas; got != "${WORKER_REPLICAS:-1}" {
		t.Errorf("docker-compose.yml runs %q workers", got)
	}
	for _, file := range []string{"../README.md", "../docs/deployment.md"} {
		if text := read(t, file); strings.Contains(text, "--scale worker") ||
			!strings.Contains(text, "deploy/make-env WORKER_REPLICAS=") {
			t.Errorf("%s: an upgrade would forget how many workers there are", file)
		}
	}
}
