// Command asynq is a process of bare asynq for the benchmark, with nothing else in it that would
// take memory.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybill/waybill/internal/bench/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := peer.Run(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}
