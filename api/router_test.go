package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/job"
)

func TestEveryRouteRefusesStrangersAndKeysWithoutItsScope(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, r := range h.api.routes {
		if r.Browser { // see monitor_test.go
			continue
		}
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			h := *h
			h.t = t
			path := strings.NewReplacer(":id", job.NewID().String(), ":type", "debug.echo", ":session",
				job.NewID().String(), ":key", job.NewID().String()).
				Replace(r.Path)
			if r.Public {
				if got := h.call(r.Method, path, "", "{}").status; got == 401 || got == 403 {
					t.Errorf("a public route answers strangers %d", got)
				}
				return
			}
			h.call(r.Method, path, "", "{}").want(401)
			h.call(r.Method, path, "nobody", "{}").want(401)
			if !r.AnyKey {
				h.call(r.Method, path, bareKey, "{}").want(403)
			}
			for _, name := range []string{alice, viewer, operator} {
				if !h.auth.principals[name].Role.Includes(r.role()) {
					h.call(r.Method, path, name, "{}").want(403)
				}
			}
		})
	}
}

func TestARouteThatSaysNothingIsForAdministratorsWithoutAKey(t *testing.T) {
	t.Parallel()
	auth := newFakeAuth().principals
	r := route{}
	if err := r.allows(auth[admin]); err != nil {
		t.Errorf("administrator: %v", err)
	}
	for _, name := range []string{alice, viewer, operator, bareKey, writeKey} {
		if r.allows(auth[name]) == nil {
			t.Errorf("%s may use it", name)
		}
	}
}

func TestPathsAreMatchedExactly(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/v1/jobs/", "//v1/jobs", "/v1//jobs", "/v1/./jobs", "/x/../v1/jobs", "/V1/jobs",
		"/v1/job",
		"/v1%2fjobs/", "/docs/", "/healthz/x", "/v1", "/" + strings.Repeat("a", 5000)} {
		if got := h.call("GET", path, alice, ""); got.status != 404 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	h.call("GET", "/", "", "").want(302)
}

func TestAWrongMethodIsAnsweredWithTheRightOnes(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	a := h.call("DELETE", "/v1/jobs", alice, "").want(405)
	allowed := strings.Split(a.header.Get("Allow"), ", ")
	slices.Sort(allowed)
	if !slices.Equal(allowed, []string{"GET", "HEAD", "POST"}) {
		t.Errorf("Allow: %v", allowed)
	}
	h.call("OPTIONS", "/v1/jobs", "", "").want(405)
	h.call("BREW", "/v1/jobs", "", "").want(405)
	h.call("POST", "/healthz", "", "").want(405)
}

func TestHeadIsAnsweredWhereverGetIs(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	for _, path := range []string{"/healthz", "/docs", "/openapi.yaml", "/v1/jobs", "/v1/task-types"} {
		get, head := h.call("GET", path, alice, "").want(200), h.call("HEAD", path, alice, "").want(200)
		if get.header.Get("Content-Type") != head.header.Get("Content-Type") {
			t.Errorf("%s: %v", path, head.header)
		}
	}
}

func TestRoutesAndDescriptionNameTheSameOperations(t *testing.T) {
	t.Parallel()
	h := newAPITest(t)
	var routed, described []string
	for _, r := range h.api.routes {
		if r.Browser { // pages for people, no API
			continue
		}
		path := strings.NewReplacer(":id", "{id}", ":type", "{type}", ":name", "{name}", ":session", "{session}",
			":key", "{key}").
			Replace(r.Path)
		routed = append(routed, r.Method+" "+path)
	}
	ref, err := readReference(openapi)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range ref.Groups {
		for _, o := range g.Operations {
			described = append(described, o.Method+" "+o.Path)
		}
	}
	for _, op := range routed {
		if !slices.Contains(described, op) {
			t.Errorf("openapi.yaml lacks %s", op)
		}
	}
	for _, op := range described {
		if !slices.Contains(routed, op) {
			t.Errorf("openapi.yaml describes %s, which is not routed", op)
		}
	}
}

func TestTheDescriptionIsValidOpenAPI(t *testing.T) {
	t.Parallel()
	spec := specification()
	spec.Lock()
	defer spec.Unlock()
	if ok, errs := spec.validator.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s %+v", e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
}

func TestEveryRouteThatChangesSomethingSaysWhoMayCallIt(t *testing.T) {
	t.Parallel()
	for _, r := range newAPITest(t).api.routes {
		if r.Public && !r.Browser && r.Method != http.MethodGet && !strings.HasPrefix(r.Path, "/v1/auth/") {
			t.Errorf("%s %s is public", r.Method, r.Path)
		}
	}
}
