package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/loop"
)

// slowPeers opens connections that send half of a request, hold back a body, or never read their
// answers, and keeps them open while the load goes on. They come from another address than the
// clients, whose requests must not notice.
func slowPeers(ctx context.Context, w *cluster) error {
	const each = 250
	requests := []string{
		"GET /v1/jobs HTTP/1.1\r\nHost: waybill\r\n",
		"POST /v1/auth/login HTTP/1.1\r\nHost: waybill\r\nContent-Type: application/json\r\nContent-Length: " +
			"10000\r\n\r\n{",
		strings.Repeat("GET /docs HTTP/1.1\r\nHost: waybill\r\n\r\n", 20),
	}
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	opened, refused := 0, 0
	for range each {
		for _, text := range requests {
			c, err := dialer.DialContext(ctx, "tcp", w.api.watch)
			if err != nil {
				refused++
				continue
			}
			defer c.Close()
			opened++
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte(text)) // the API may have closed it by then
		}
	}
	w.note(fmt.Sprintf("%d slow connections, %d more refused", opened, refused))
	loop.Sleep(ctx, w.during(8*time.Second, time.Minute))
	return w.readyTurns(ctx, true)
}
