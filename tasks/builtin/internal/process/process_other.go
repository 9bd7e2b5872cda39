//go:build !linux

package process

import "context"

// Supported reports whether Run works on this system.
const Supported = false

// Run answers ErrUnsupported.
func Run(context.Context, Command) (Result, error) { return Result{}, ErrUnsupported }

// CheckUser answers ErrUnsupported.
func CheckUser(*User) error { return ErrUnsupported }
