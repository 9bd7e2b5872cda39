package testenv

import (
	"testing"

	"github.com/waybill/waybill/internal/testenv/server"
)

// PgBouncer starts a PgBouncer before the database at url, gone when the test ends, and answers the
// URL that leads through it. Settings are lines of its configuration, like "pool_mode = session".
func PgBouncer(t testing.TB, url string, settings ...string) string {
	t.Helper()
	b, err := server.StartPgBouncer(url, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, b.Close()) })
	return b.URL()
}
