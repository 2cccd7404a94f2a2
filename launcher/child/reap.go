package child

import (
	"os"
	"syscall"
)

// Reaper collects every process that ends below this one: the child, and what it left behind.
type Reaper struct {
	signals <-chan os.Signal
}

// NewReaper reaps whenever something comes from signals, which carries SIGCHLD and was set up before the child started.
func NewReaper(signals <-chan os.Signal) *Reaper { return &Reaper{signals: signals} }

// Wait reaps until the process pid has ended and returns its status.
func (r *Reaper) Wait(pid int) syscall.WaitStatus {
	for {
		if status, found := sweep(pid); found {
			return status
		}
		<-r.signals
	}
}

// Go reaps on, for ever.
func (r *Reaper) Go() {
	for {
		sweep(-1)
		<-r.signals
	}
}

func sweep(pid int) (found syscall.WaitStatus, ok bool) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return found, ok
		}
		if got == pid && (status.Exited() || status.Signaled()) {
			found, ok = status, true
		}
	}
}

// Signal signals the child's whole process group; nothing happens once the child has ended.
func (p *Process) Signal(number syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		syscall.Kill(-p.Pid, number)
	}
}

// KillRest kills what the child leaves behind, or the child itself while it runs: all there is when this process is PID 1 of a container,
// else the child's group. Afterwards its number may belong to another process, so nothing is signaled any more.
func (p *Process) KillRest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	if os.Getpid() == 1 {
		syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	syscall.Kill(-p.Pid, syscall.SIGKILL)
}
