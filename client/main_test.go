package client_test

import (
	"log"
	"os"
	"sync"
	"testing"

	"github.com/waybill/waybill/client"
	"github.com/waybill/waybill/server"
	"github.com/waybill/waybill/server/servertest"
)

// stopShared ends the deployment of the examples.
var stopShared = func() error { return nil }

// connect is a client of the deployment that the examples share.
var connect = sync.OnceValue(func() *client.Client {
	c, stop, err := servertest.Run(server.New(renderInvoice.Handle(render)))
	if err != nil {
		log.Fatal(err)
	}
	stopShared = stop
	return c
})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopShared(); err != nil {
		log.Print(err)
		code = 1
	}
	os.Exit(code)
}
