//go:build !linux

package main

import "syscall"

// attributes keep the terminal's ^C from a process: it is ours to stop.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
