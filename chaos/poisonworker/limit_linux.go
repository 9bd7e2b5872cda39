package main

import (
	"fmt"
	"syscall"
)

// mostMemory is far more than a worker needs, and little enough that it alone suffers from a
// handler that hoards.
const mostMemory = 768 << 20

// limitMemory stands for the limit that a container has.
func limitMemory() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: mostMemory, Max: mostMemory}); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	return nil
}
