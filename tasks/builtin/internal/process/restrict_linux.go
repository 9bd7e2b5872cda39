package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// prying are the capabilities that let a program read the memory or the environment of other
// processes.
func prying() []uintptr {
	return []uintptr{
		unix.CAP_SYS_PTRACE,
		unix.CAP_SYS_ADMIN,
		unix.CAP_SYS_MODULE,
		unix.CAP_SYS_RAWIO,
		unix.CAP_PERFMON,
		unix.CAP_BPF,
	}
}

// restrictThread restricts what this thread starts from now on. Neither step can be undone, and
// neither takes anything away from the thread itself: it needs no more than it has, and the
// bounding set counts when a program is executed.
func restrictThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("restrict the program: %w", err)
	}
	for _, c := range prying() {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		// EPERM: a process that may not change the set has no capability to hand on but those of
		// its set for root, which it is then not. EINVAL: an older kernel does not know the
		// capability.
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("restrict the program's capabilities: %w", err)
		}
	}
	return nil
}

func (u *User) credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID} // and no further groups
}

// CheckUser says why this process could not run programs as u.
func CheckUser(u *User) error {
	if u == nil || int(u.UID) == os.Geteuid() && int(u.GID) == os.Getegid() {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	for name, c := range map[string]uint{"CAP_SETUID": unix.CAP_SETUID, "CAP_SETGID": unix.CAP_SETGID,
		"CAP_KILL": unix.CAP_KILL} {
		if data[0].Effective&(1<<c) == 0 {
			return fmt.Errorf(
				"running programs as user %d needs the capability %s, which this process lacks",
				u.UID,
				name,
			)
		}
	}
	return nil
}
