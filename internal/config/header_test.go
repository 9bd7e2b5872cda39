package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/config"
)

func TestHeadersAreReadAndHidden(t *testing.T) {
	t.Parallel()
	c, err := config.Parse(
		[]string{
			"OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20hunter2, x-tenant=a=b",
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318/",
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.OTLPHeaders.Reveal(),
		map[string]string{"Authorization": "Bearer hunter2", "x-tenant": "a=b"}; !reflect.DeepEqual(
		got,
		want,
	) {
		t.Errorf("got %v, want %v", got, want)
	}
	if strings.Contains(fmt.Sprintf("%+v %#v", c, c.OTLPHeaders), "hunter2") {
		t.Error("a header's value shows")
	}
	if c.OTLPEndpoint != "http://collector:4318" {
		t.Errorf("endpoint %q", c.OTLPEndpoint)
	}
}

func TestBrokenHeadersAndEndpointsAreRefusedWithoutTellingThem(t *testing.T) {
	t.Parallel()
	for _, environ := range []string{
		"OTEL_EXPORTER_OTLP_HEADERS=hunter2", "OTEL_EXPORTER_OTLP_HEADERS=a=hunter2%zz",
		"OTEL_EXPORTER_OTLP_HEADERS=a b=hunter2",
		"OTEL_EXPORTER_OTLP_HEADERS=a=hunter2%0d%0ax", "OTEL_EXPORTER_OTLP_HEADERS=a=hunter2,",
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:hunter2@c",
	} {
		found := problems(t, []string{environ})
		variable, _, _ := strings.Cut(environ, "=")
		if found[variable] == "" || len(found) != 1 || strings.Contains(found[variable], "hunter2") {
			t.Errorf("%s: got %v, want a mistake of that variable alone", environ, found)
		}
	}
}
