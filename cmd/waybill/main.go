// Command waybill is the operator's command, and everything in one process for trying Waybill out.
package main

import (
	"os"

	"github.com/waybill/waybill/server"
)

func main() { os.Exit(server.Main()) }
