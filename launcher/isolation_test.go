package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"forgejo-mcp-operator/launcher/wire"
)

// From linux/ptrace.h, and the numbers of calls that package syscall does not name.
const (
	ptraceSeize    = 0x4206
	sysPidfdOpen   = 434
	sysPidfdGetfd  = 438
	addressOfEntry = 0x400000
)

// Calls whose numbers differ: process_vm_readv, process_vm_writev, kcmp.
var numbers = map[string][3]uintptr{"amd64": {310, 311, 312}, "arm64": {270, 271, 272}}[runtime.GOARCH]

// attack is the child of TestAChildOfTheSameUserCannotReachItsLauncher: it tries what it can on PID 1 and prints what worked.
func attack() {
	report := func(name string, err error) {
		if err == nil {
			fmt.Println("REACHED " + name)
		} else {
			fmt.Println("denied " + name)
		}
	}
	for _, name := range []string{
		"environ", "mem", "maps", "auxv", "io", "syscall", "stack", "task/1/mem", "task/1/environ", "fd/0", "fd/1", "fd/2", "task/1/fd/0",
		"map_files", "root/etc/passwd", "cwd/etc",
	} {
		for mode, flag := range map[string]int{"read": os.O_RDONLY, "write": os.O_WRONLY} {
			if mode == "write" && !strings.Contains(name, "fd/") && !strings.HasSuffix(name, "mem") {
				continue
			}
			f, err := os.OpenFile("/proc/1/"+name, flag|syscall.O_NONBLOCK, 0)
			if err == nil && name != "environ" && flag == os.O_RDONLY && !strings.Contains(name, "fd/") {
				_, err = f.Read(make([]byte, 1))
			}
			report(mode+" /proc/1/"+name, err)
		}
	}
	_, err := os.Readlink("/proc/1/fd/0")
	report("readlink /proc/1/fd/0", err)
	report("ptrace attach", syscall.PtraceAttach(1))
	call := func(name string, number uintptr, args ...uintptr) uintptr {
		args = append(args, 0, 0, 0, 0, 0, 0)
		value, _, errno := syscall.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
		if errno != 0 {
			report(name, errno)
			return ^uintptr(0)
		}
		report(name, nil)
		return value
	}
	call("ptrace seize", syscall.SYS_PTRACE, ptraceSeize, 1)
	buf := make([]byte, 8)
	local := [2]uintptr{uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))}
	remote := [2]uintptr{addressOfEntry, uintptr(len(buf))}
	vectors := []uintptr{1, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1}
	call("process_vm_readv", numbers[0], vectors...)
	call("process_vm_writev", numbers[1], vectors...)
	call("kcmp", numbers[2], 1, uintptr(os.Getpid()), 0)
	if pidfd, _, errno := syscall.Syscall(sysPidfdOpen, 1, 0, 0); errno == 0 {
		for fd := range uintptr(8) {
			call("pidfd_getfd "+strconv.Itoa(int(fd)), sysPidfdGetfd, pidfd, fd)
		}
	}
	realTime := os.Getenv("FMO_TEST_CHILD") == "real-time"
	for number := syscall.Signal(1); number < 65; number++ {
		if (number >= 32) == realTime && number != syscall.SIGTERM { // which asks for our own end, by right
			syscall.Kill(1, number)
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Cap") && !strings.HasPrefix(line, "CapBnd") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Uid") {
			fmt.Print(strings.Join(strings.Fields(line), " ") + "\n")
		}
	}
	var core syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	fmt.Println("core", core.Cur, core.Max)
	for _, entry := range os.Environ() {
		fmt.Println("env " + entry)
	}
	links, _ := os.ReadDir("/proc/self/fd")
	for _, link := range links {
		target, _ := os.Readlink("/proc/self/fd/" + link.Name())
		if strings.HasPrefix(target, "pipe:") || strings.HasPrefix(target, "socket:") {
			fmt.Println("fd", link.Name())
		}
	}
}

// asPid1 is a command that runs a program as PID 1 of a namespace of its own, as the given user.
func asPid1(t *testing.T, uid int, program string) []string {
	command := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		command = append(command, "--user", "--map-root-user")
	} else if uid != 0 {
		program, _ = filepath.Abs(program)
		id := strconv.Itoa(uid)
		return append(command, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", program)
	}
	return append(command, program)
}

func TestAChildOfTheSameUserCannotReachItsLauncher(t *testing.T) {
	path := binary(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := filepath.Join(filepath.Dir(path), "child")
	if out, err := exec.Command("cp", self, child).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	os.Chmod(child, 0o755)
	type attack struct {
		uid int
		// One kind at a time: a burst of all 63 at once ends a launcher, and with it the own session, now and then (fmo-2de).
		signals string
	}
	for _, by := range []attack{{65534, "standard"}, {65534, "real-time"}, {0, "standard"}, {0, "real-time"}} {
		t.Run("uid "+strconv.Itoa(by.uid)+", "+by.signals+" signals", func(t *testing.T) {
			p := claim(t, asPid1(t, by.uid, path), map[string]string{"FMO_TEST_CHILD": by.signals}, child)
			out, exit := p.all()
			if exit[0] != byte(wire.Exited) || exit[1] != 0 {
				t.Errorf("exit %v", exit)
			}
			denied := 0
			var rest []string
			for line := range strings.Lines(out) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, "REACHED") {
					t.Error(line)
				} else if strings.HasPrefix(line, "denied") {
					denied++
				} else if !strings.HasPrefix(line, "Uid") {
					rest = append(rest, line)
				}
			}
			if denied < 30 {
				t.Errorf("only %d attempts: %s", denied, out)
			}
			none := "0000000000000000"
			want := []string{"CapInh: " + none, "CapPrm: " + none, "CapEff: " + none, "CapAmb: " + none, "NoNewPrivs: 1", "core 0 0",
				"env FMO_TEST_CHILD=" + by.signals, "fd 0", "fd 1", "fd 2"}
			if strings.Join(rest, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q", rest)
			}
			if code := p.exitCode(); code != 0 {
				t.Errorf("the launcher ended with %d", code)
			}
		})
	}
}

func TestPid1KillsAllThatIsLeftAndTakesItsChildsCode(t *testing.T) {
	p := claim(t, asPid1(t, 65534, binary(t)), map[string]string{"PATH": "/usr/bin:/bin"},
		"/bin/sh", "-c", "setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & (sleep 0.01 &); echo said; kill -KILL $$")
	out, exit := p.all()
	if out != "said\n" || exit[0] != byte(wire.Signaled) || exit[1] != 9 {
		t.Errorf("%q %v", out, exit)
	}
	if code := p.exitCode(); code != 137 {
		t.Errorf("ended with %d", code)
	}
}
