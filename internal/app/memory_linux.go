package app

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HideMemory keeps other processes of the same user, such as the programs of command.run, from
// reading this process's memory and environment, where the deployment's secrets are
// (PR_SET_DUMPABLE). It also means that there are no core dumps, and that a debugger needs root. It
// holds for the whole process, so that only programs call it.
func HideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide this process's memory from others: %w", err)
	}
	return nil
}
