package main

import "syscall"

// attributes keep the terminal's ^C from a process and let it die with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
