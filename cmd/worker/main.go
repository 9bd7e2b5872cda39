// Command worker is the half of a deployment of Waybill that runs jobs; start as many as it takes.
// It is configured by its environment: see docs/configuration.md.
package main

import (
	"os"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

func main() {
	os.Exit(app.Main(config.LoadWorker, app.Options{Worker: true}))
}
