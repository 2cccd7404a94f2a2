package child

import (
	"syscall"
	"unsafe"
)

// From linux/prctl.h, linux/capability.h and linux/close_range.h.
const (
	prSetDumpable       = 4
	prSetChildSubreaper = 36
	prSetNoNewPrivs     = 38
	capabilityVersion3  = 0x20080522
	sysCloseRange       = 436 // the same on every architecture
	closeRangeCloexec   = 1 << 2
)

// Harden gives up what the launcher never needs, before it learns any secret. The child has the same user id, so without this it could read
// the key.
//
//   - Not dumpable (prctl(2)): /proc/1 then belongs to root, and opening the memory, environment or descriptors of this process, or
//     tracing it, asks for CAP_SYS_PTRACE in the user namespace that it was started in.
//   - No core files.
//   - No capabilities, and no new privileges: neither this process nor any program that it starts can gain any.
//   - Descriptors that a container runtime left open by mistake do not reach the child. (Kernels before 5.11 cannot; there it is left.)
//   - Orphans come to this process to be reaped, in a container or not.
func Harden() error {
	if err := prctl(prSetDumpable, 0); err != nil {
		return err
	}
	syscall.RawSyscall(sysCloseRange, 3, uintptr(^uint32(0)), closeRangeCloexec)
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return err
	}
	// Both are attributes of a thread, and any of the runtime's threads may be the one that forks.
	if _, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	header := struct {
		version uint32
		pid     int32
	}{version: capabilityVersion3}
	var none [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return errno
	}
	return prctl(prSetChildSubreaper, 1)
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
