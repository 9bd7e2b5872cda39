//go:build !linux

package bench

import (
	"context"
	"errors"
	"time"
)

// Tree needs Linux.
func Tree(int) Clock {
	return func(context.Context) (time.Duration, error) { return 0, errors.New("known on Linux only") }
}

// Postmaster needs Linux.
func Postmaster(context.Context, string) (int, error) { return 0, errors.New("known on Linux only") }

func wholeMachine(context.Context) (time.Duration, error) {
	return 0, errors.New("known on Linux only")
}
