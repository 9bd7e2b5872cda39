package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// FreePort is a TCP port of 127.0.0.1 without a listener. It lies below the range from which the
// kernel takes the ports of outgoing connections, so that it is not taken by chance while a server
// is down, and so that a client which dials it then is refused rather than connected to itself.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(22_000)
		var l net.Listener
		if l, err = net.Listen("tcp", address(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// onFreePort calls start with one free port after another until it finds one that was not taken
// meanwhile.
func onFreePort(start func(port int) error) error {
	var err error
	for range 5 {
		var port int
		if port, err = FreePort(); err != nil {
			return err
		}
		if err = start(port); err == nil || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			return err
		}
	}
	return errors.Join(errors.New("no port stayed free"), err)
}
