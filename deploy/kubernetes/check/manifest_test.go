// Package check holds the manifests to the types that Kubernetes itself reads them with. It is a
// module of its own, so that these types are no dependency of Waybill: `make manifests`.
package check

import (
	"bytes"
	"io"
	"regexp"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	security "k8s.io/pod-security-admission/api"
	policies "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	kyaml "sigs.k8s.io/yaml"
)

// unknown are kinds whose Go types are too large a dependency for what they would prove.
var unknown = map[string]bool{"ScaledObject": true}

func TestKustomizeBuildsWhatKubernetesCanRead(t *testing.T) {
	t.Parallel()
	for dir, least := range map[string]int{"base": 13, "migrate": 1, "example": 16} {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../"+dir)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		text, err := built.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		if n := decode(t, dir, text); n < least {
			t.Errorf("%s: %d objects, want %d at least", dir, n, least)
		}
	}
}

// The migration of a release runs the image of that release.
func TestEachImageIsNamedInOnePlace(t *testing.T) {
	t.Parallel()
	where := filesys.MakeFsOnDisk()
	named := struct {
		Images []struct{ Name, NewName, NewTag string }
	}{}
	text, err := where.ReadFile("../images/kustomization.yaml")
	if err == nil {
		err = kyaml.Unmarshal(text, &named)
	}
	if err != nil || len(named.Images) != 2 {
		t.Fatalf("%v: %v", named, err)
	}
	want := map[string]bool{}
	for _, i := range named.Images {
		want["image: "+i.NewName+":"+i.NewTag] = true
	}
	for dir, pods := range map[string]int{"migrate": 1, "example": 2} {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(where, "../"+dir)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		text, err := built.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		images := regexp.MustCompile(`(?m)^\s+(image: .*)$`).FindAllStringSubmatch(string(text), -1)
		if len(images) != pods {
			t.Errorf("%s: %d images, want %d", dir, len(images), pods)
		}
		for _, i := range images {
			if !want[i[1]] {
				t.Errorf("%s: %s is not of ../images", dir, i[1])
			}
		}
	}
}

// decode reads every object strictly: a field that its type does not have, or that stands there
// twice, is an error.
func decode(t *testing.T, dir string, text []byte) (n int) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, autoscaling.AddToScheme, batch.AddToScheme,
		core.AddToScheme,
		networking.AddToScheme, policy.AddToScheme, monitoring.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(
		json.DefaultMetaFactory,
		scheme,
		scheme,
		json.SerializerOptions{Yaml: true, Strict: true},
	)
	for docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; n++ {
		doc := make([]byte, 1<<20)
		size, err := docs.Read(doc)
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		object, kind, err := strict.Decode(doc[:size], nil, nil)
		if err != nil && !(kind != nil && unknown[kind.Kind]) {
			t.Errorf("%s, %v: %v", dir, kind, err)
		}
		switch o := object.(type) {
		case *apps.Deployment:
			isRestricted(t, dir+"/"+o.Name, o.Spec.Template)
		case *batch.Job:
			isRestricted(t, dir+"/"+o.Name, o.Spec.Template)
		}
	}
}

// isRestricted asks what the namespace asks of each pod: the restricted Pod Security Standard.
func isRestricted(t *testing.T, name string, pod core.PodTemplateSpec) {
	t.Helper()
	standard, err := policies.NewEvaluator(policies.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range standard.EvaluatePod(security.LevelVersion{Level: security.LevelRestricted,
		Version: security.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("%s: the namespace refuses it: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
}
