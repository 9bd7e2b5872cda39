// Command api is the HTTP half of a deployment of Waybill. It is configured by its environment: see
// docs/configuration.md.
package main

import (
	"os"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

func main() {
	os.Exit(app.Main(config.LoadAPI, app.Options{API: app.ServeAPI}))
}
