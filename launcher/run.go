package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"forgejo-mcp-operator/launcher/child"
	"forgejo-mcp-operator/launcher/link"
	"forgejo-mcp-operator/launcher/wire"
)

const (
	// heapGrowth lets the collector run for each megabyte (a quarter of the runtime's 4 MiB): nothing is allocated for a frame, so it hardly
	// ever does. A memory limit near the real use would make it run all the time instead.
	heapGrowth = 25
	// hurried is how long the last frames wait once the pod is being deleted.
	hurried = time.Second
)

// run is the whole life of PID 1. It returns the exit code.
func run() int {
	debug.SetTraceback("none") // a crash must not print what is in memory
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(heapGrowth)

	// Before there is a child, which may send any signal: the runtime would die of most of them.
	reaps, stops := make(chan os.Signal, 1), make(chan os.Signal, 1)
	catchAll()
	signal.Notify(reaps, syscall.SIGCHLD)
	signal.Notify(stops, syscall.SIGTERM)

	if err := child.Harden(); err != nil {
		os.Stdout.WriteString("FMO-REFUSED privileges: " + err.Error() + "\n")
		return exitInternal
	}
	stdin, stdout := pipe(0, "stdin"), pipe(1, "stdout")
	lines := wire.NewLines(stdin, wire.MaxClaim)

	claims := make(chan *wire.Claim, 1)
	refused := make(chan error, 1)
	go func() {
		claim, err := awaitClaim(lines)
		if err != nil {
			refused <- err
			return
		}
		claims <- claim
	}()
	select {
	case claim := <-claims:
		s := &session{claim: claim, stdout: stdout, lines: lines, reaper: child.NewReaper(reaps), stops: stops}
		return s.run()
	case err := <-refused:
		if text, ok := err.(wire.Refusal); ok {
			stdout.WriteString("FMO-REFUSED " + string(text) + "\n")
			return exitRefused
		}
		return exitUnused // stdin ended: nobody can ever claim this
	case <-stops:
		return exitUnused
	}
}

// catchAll takes every signal that can be caught and does nothing about it. A fault of the program itself still ends it.
func catchAll() {
	nobody := make(chan os.Signal, 1)
	for number := syscall.Signal(1); number < 32; number++ {
		if number != syscall.SIGURG { // the runtime's own
			signal.Notify(nobody, number)
		}
	}
}

// awaitClaim passes over lines until a claim comes. A warm pod waits here, silent.
func awaitClaim(lines *wire.Lines) (*wire.Claim, error) {
	for {
		line, whole, err := lines.Next()
		if err != nil {
			return nil, err
		}
		if !whole {
			continue
		}
		claim, err := wire.ParseClaim(line)
		clear(line) // it held the key
		if err == wire.ErrNotClaim {
			continue
		}
		return claim, err
	}
}

// pipe makes one of the container's own streams wait in the runtime's poller instead of in a thread.
func pipe(fd int, name string) *os.File {
	syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

// session is a claimed launcher.
type session struct {
	claim  *wire.Claim
	stdout *os.File
	lines  *wire.Lines
	reaper *child.Reaper
	stops  <-chan os.Signal

	link    *link.Link
	process *child.Process
	ended   sync.Once
}

func (s *session) run() int {
	s.link = link.New(s.claim, s.signal)
	process, err := child.Start(s.claim)
	s.claim.Key, s.claim.Env = nil, nil
	s.process = process
	s.lines.SetMax(wire.MaxLine)

	ends := make(chan int, 3) // who ends the launcher: the child, a broken peer, a lost stdout
	if err != nil {
		failed := err.(*child.StartError)
		s.link.Exit(wire.StartFailed, failed.Code, failed.Text) // before Welcome can be sent, which tells of it
		go func() {
			s.link.Linger()
			ends <- int(failed.Code)
		}()
	} else {
		go s.feed()
		go func() { ends <- s.outlive() }()
	}
	go func() { ends <- s.pump() }()
	go s.listen()
	go s.watchStops()
	code := <-ends
	if process != nil {
		process.KillRest()
	}
	return code
}

// pump writes frames; it returns only when the link is beyond repair, having ended everything.
func (s *session) pump() int {
	if _, broken := s.link.Pump(s.stdout).(*link.Breach); broken {
		return exitProtocol
	}
	return exitInternal
}

// listen takes lines until stdin ends, which means that the runtime has let go of this container: nobody can attach any more.
func (s *session) listen() {
	for {
		line, whole, err := s.lines.Next()
		if err != nil {
			s.stop()
			return
		}
		s.link.HandleLine(line, whole)
	}
}

// feed writes the child's stdin. A child that closed it loses what follows, as with a pipe.
func (s *session) feed() {
	defer s.process.Stdin.Close()
	gone := false
	for {
		body, more, err := s.link.Input()
		if err != nil || (len(body) == 0 && !gone) {
			return
		}
		for _, part := range [2][]byte{body, more} {
			if !gone && len(part) > 0 {
				_, err := s.process.Stdin.Write(part)
				gone = err != nil
			}
		}
		s.link.Consumed()
	}
}

// outlive carries the child's output, waits for its end, and tells the gateway. It returns the child's exit code as a shell gives it.
func (s *session) outlive() int {
	var outputs sync.WaitGroup
	outputs.Go(func() { s.carry(wire.Stdout, s.process.Stdout) })
	outputs.Go(func() { s.carry(wire.Stderr, s.process.Stderr) })
	status := s.reaper.Wait(s.process.Pid)
	go s.reaper.Go()
	s.process.KillRest()
	s.process.Stdout.Finish()
	s.process.Stderr.Finish()
	kind, value, code := wire.Exited, byte(status.ExitStatus()), status.ExitStatus()
	if status.Signaled() {
		kind, value, code = wire.Signaled, byte(status.Signal()), 128+int(status.Signal())
	}
	go func() {
		outputs.Wait()
		s.link.Exit(kind, value, "")
	}()
	s.link.Linger()
	return code
}

// carry reads one of the child's outputs to its end.
func (s *session) carry(kind wire.Type, from *child.Output) {
	defer from.Close()
	buf := make([]byte, wire.MaxBody)
	for {
		n, err := from.Read(buf)
		if n > 0 && s.link.Write(kind, buf[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// watchStops passes the deletion of the pod on to the child.
func (s *session) watchStops() {
	<-s.stops
	s.stop()
}

// stop ends the child because its container ends: SIGTERM, then SIGKILL after the claim's grace.
func (s *session) stop() {
	s.ended.Do(func() {
		s.link.SetLinger(hurried)
		s.signal(byte(syscall.SIGTERM))
		time.AfterFunc(time.Duration(s.claim.Limits.PodGraceMs)*time.Millisecond, func() { s.signal(byte(syscall.SIGKILL)) })
	})
}

// signal signals the child's process group, where there is one.
func (s *session) signal(number byte) {
	if s.process != nil {
		s.process.Signal(syscall.Signal(number))
	}
}
