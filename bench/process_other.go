//go:build !linux

package main

import "syscall"

// attributes keep the terminal's ^C from a process.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
