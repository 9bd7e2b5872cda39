// Command poisonworker is the API or the worker of Waybill (its one argument says which) with task
// types that no deployment should have: they kill their process, block for ever, or fail with what
// no database takes. It is what the fault runs feed poison to.
package main

import (
	"fmt"
	"os"

	"github.com/waybill/waybill/internal/app"
	"github.com/waybill/waybill/internal/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: poisonworker api|worker")
		os.Exit(2)
	}
	role := os.Args[1]
	os.Args = os.Args[:1] // what follows is read by app.Main
	if role == "api" {
		os.Exit(app.Main(config.LoadAPI, app.Options{API: app.ServeAPI, Types: poisons()}))
	}
	if err := limitMemory(); err != nil {
		fmt.Fprintln(os.Stderr, "poisonworker:", err)
		os.Exit(1)
	}
	os.Exit(app.Main(config.LoadWorker, app.Options{Worker: true, Types: poisons()}))
}
