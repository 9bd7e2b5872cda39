package dev

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end the child when this process is gone, however it went; and keeps
// the terminal's Ctrl-C from it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
