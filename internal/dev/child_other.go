//go:build !linux

package dev

import "os/exec"

// dieWithParent does nothing where the kernel cannot: a child that outlives us is found by its
// socket and ended by the next run.
func dieWithParent(*exec.Cmd) {}
