// Package peer is bare asynq as it is commonly used, in two processes: an HTTP server that checks a
// JWT, binds JSON and enqueues, and a worker. Both run asynq with its default settings. Jobs are
// neither recorded nor claimed.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Order says what a process is to be. It is read from its standard input, so that the key stands in
// no list of processes.
type Order struct {
	Role  string `json:"role"` // API or Worker
	Redis string `json:"redis"`
	Key   []byte `json:"key"` // of HS256; the API's
}

// The roles.
const (
	API    = "api"
	Worker = "worker"
)

// Queue is the one queue of both.
const Queue = "bench-asynq"

// Run is one of the processes: it reads its configuration, writes its address, and works until its
// input ends, which it does with the process that started it.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	orders := json.NewDecoder(in)
	var o Order
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	redis, err := asynq.ParseRedisURI(o.Redis)
	if err != nil {
		return errors.New("the URL of Redis cannot be read")
	}
	handler, end, err := o.handler(redis)
	if err != nil {
		return err
	}
	defer end()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = io.Copy(io.Discard, io.MultiReader(orders.Buffered(), in))
	}()
	select {
	case <-left:
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	return server.Close()
}

func (o Order) handler(redis asynq.RedisConnOpt) (h http.Handler, end func(), err error) {
	switch o.Role {
	case API:
		client := asynq.NewClient(redis)
		return newAPI(client, o.Key), func() { _ = client.Close() }, nil
	case Worker:
		w := &worker{redis: redis}
		return w.mux(), w.stop, nil
	}
	return nil, nil, fmt.Errorf("there is no role %q", o.Role)
}

var metrics = promhttp.Handler()
