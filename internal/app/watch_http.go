package app

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/internal/obs"
)

// watchMux is what a worker serves: it has no API. It is reached by those who run the deployment
// only.
func (a *App) watchMux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", obs.Handler(a.telemetry.registry))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		for _, check := range a.readyToWork() {
			if check.Ready(ctx) != nil {
				http.Error(w, "not ready: "+check.Name, http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}
