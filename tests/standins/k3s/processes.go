// Copyright (c) 2026 The stagecraft.gitops contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// processes are the programs that run below this one. They end with it, also when it is killed; containers do not.
type processes struct {
	mutex   sync.Mutex
	bin     string
	running []*process
	ended   chan error
	closing bool
}

type process struct {
	name string
	pid  int
	done chan struct{}
}

func newProcesses(bin string) *processes {
	return &processes{bin: bin, ended: make(chan error, 32)}
}

// start runs a program of the payload; when it ends unasked, so does this one, and systemd starts it again.
func (p *processes) start(name string, arguments []string, environment ...string) error {
	started := make(chan error, 1)
	one := &process{name: name, done: make(chan struct{})}
	go func() {
		// the kernel's parent-death signal comes when the thread ends that started the child
		runtime.LockOSThread()
		command := exec.Command(filepath.Join(p.bin, name), arguments...)
		command.Env = append(withoutNotify(os.Environ()), environment...)
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		reader, writer, err := os.Pipe()
		if err != nil {
			started <- err
			return
		}
		command.Stdout, command.Stderr = writer, writer
		if err := command.Start(); err != nil {
			started <- fmt.Errorf("starting %s: %w", name, err)
			return
		}
		writer.Close()
		go copyLog(name, reader)
		one.pid = command.Process.Pid
		started <- nil
		err = command.Wait()
		close(one.done)
		p.mutex.Lock()
		closing := p.closing
		p.mutex.Unlock()
		if !closing {
			p.ended <- fmt.Errorf("%s exited: %v", name, err)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.mutex.Lock()
	p.running = append(p.running, one)
	p.mutex.Unlock()
	info("Running %s", name)
	return nil
}

// withoutNotify keeps systemd's socket from programs that would tell it of themselves.
func withoutNotify(environment []string) []string {
	var kept []string
	for _, pair := range environment {
		if !strings.HasPrefix(pair, "NOTIFY_SOCKET=") {
			kept = append(kept, pair)
		}
	}
	return kept
}

func copyLog(name string, reader *os.File) {
	defer reader.Close()
	scanner := bufio.NewScanner(reader)
	scanner.Buffer(make([]byte, 64*1024), 1024*1024)
	for scanner.Scan() {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, scanner.Text())
	}
}

// stop ends all programs, the last one started first. None gets long: upstream is one process, and simply ends.
func (p *processes) stop() {
	p.mutex.Lock()
	p.closing = true
	running := append([]*process(nil), p.running...)
	p.mutex.Unlock()
	for index := len(running) - 1; index >= 0; index-- {
		one := running[index]
		syscall.Kill(one.pid, syscall.SIGTERM)
		select {
		case <-one.done:
		case <-time.After(1500 * time.Millisecond):
			warning("%s did not end, killing it", one.name)
			syscall.Kill(one.pid, syscall.SIGKILL)
			<-one.done
		}
	}
}

// notify tells systemd that the unit is up; nothing where nobody asked.
func notify(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	if address[0] == '@' {
		address = "\x00" + address[1:]
	}
	connection, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		warning("systemd was not told: %v", err)
		return
	}
	defer connection.Close()
	connection.Write([]byte(state))
}

// waitFor calls a check until it has no error, and returns the last one when the context ends.
func waitFor(ctx context.Context, what string, check func() error) error {
	var last error
	for number := 0; ; number++ {
		if last = check(); last == nil {
			return nil
		}
		if number%20 == 19 {
			info("Waiting for %s: %v", what, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, last)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// untilSignal returns on SIGTERM or SIGINT, or with an error when a program below has ended.
func (p *processes) untilSignal(ctx context.Context) error {
	select {
	case err := <-p.ended:
		return err
	case <-ctx.Done():
		return nil
	}
}
