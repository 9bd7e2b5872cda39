package app

import (
	"bytes"
	"strings"
	"testing"
)

func TestHelpNeedsNoConfigurationAndWhatIsNotKnownIsRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{API: ServeAPI}, {Worker: true}} {
		for args, want := range map[string]struct {
			code     int
			answered bool
			out      string
			errs     string
		}{
			"":                {},
			"healthcheck":     {},
			"--help":          {0, true, "Usage: " + o.name() + " ", ""},
			"-h":              {0, true, "DATABASE_URL", ""},
			"help":            {0, true, "healthcheck", ""},
			"--version":       {0, true, o.name() + " ", ""},
			"health":          {2, true, "", "healthcheck"},
			"--addr=:1":       {2, true, "", "the environment"},
			"healthcheck now": {2, true, "", "healthcheck"},
			"--help me":       {2, true, "", "--help"},
		} {
			var out, errs bytes.Buffer
			code, answered := answer(strings.Fields(args), o, &out, &errs)
			if code != want.code || answered != want.answered || !strings.Contains(out.String(), want.out) ||
				!strings.Contains(errs.String(), want.errs) ||
				(want.errs == "") != (errs.Len() == 0) ||
				(want.out == "") != (out.Len() == 0) {
				t.Errorf(
					"%s %s: code %d, answered %v\n%s%s",
					o.name(),
					args,
					code,
					answered,
					out.String(),
					errs.String(),
				)
			}
		}
	}
}
