//go:build unix

package dev

import (
	"fmt"
	"os"
	"syscall"
)

// lockFolder keeps a second process out of the data folder. The lock goes with the process, however
// that ends.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another waybill dev uses the data folder (--data chooses another): %w", err)
	}
	return func() { _ = f.Close() }, nil
}
