package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat; it is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// process is one program under measurement, with its children.
type process struct {
	name   string
	cmd    *exec.Cmd
	output transcript
	ended  chan struct{}
}

// transcript is what a process has printed so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	told int               // octets of text whose lines were given to tell
	tell func(line string) // nil: nobody
}

func (t *transcript) Write(part []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(part)
	for t.tell != nil {
		line, _, whole := bytes.Cut(t.text.Bytes()[t.told:], []byte("\n"))
		if !whole {
			break
		}
		t.told += len(line) + 1
		t.tell(string(line))
	}
	return len(part), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// start runs a program on CPU 0 with its output kept for when it fails.
func start(name string, env []string, program string, args ...string) (*process, error) {
	return launch(name, env, append([]string{"taskset", "-c", "0", program}, args...))
}

// launch runs a program wherever the system puts it.
func launch(name string, env, command []string) (*process, error) {
	return begin(&process{name: name}, env, command)
}

// begin runs p, of which name and listeners are set.
func begin(p *process, env, command []string) (*process, error) {
	p.ended = make(chan struct{})
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the process and waits for it; killed when it takes too long.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// kill ends the process as a crash would, and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// ready waits until probe succeeds, and fails early when the process ends.
func (p *process) ready(ctx context.Context, within time.Duration, probe func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !probe() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at once: %s", p.name, lastLines(p.output.String(), 3))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer within %s", p.name, within)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// family lists a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for word := range strings.FieldsSeq(string(text)) {
				if child, err := strconv.Atoi(word); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

// cpu returns the CPU time that the process and its descendants have used.
func (p *process) cpu() time.Duration {
	var ticks int64
	for _, pid := range family(p.cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The fields after the name in parentheses begin with the state, field 3 of proc(5).
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		ticks += user + system
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// memory returns the resident octets of the process and its descendants, shared pages counted once.
func (p *process) memory() int64 {
	var total int64
	for _, pid := range family(p.cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				total += kib * 1024
			}
		}
	}
	return total
}

// pinned returns a command that runs on the client's CPU.
func pinned(ctx context.Context, program string, args ...string) *exec.Cmd {
	cpu := "1"
	if _, err := os.Stat("/sys/devices/system/cpu/cpu1"); errors.Is(err, os.ErrNotExist) {
		cpu = "0"
	}
	return exec.CommandContext(ctx, "taskset", append([]string{"-c", cpu, program}, args...)...)
}

// versionOf returns the first line that a program prints about itself.
func versionOf(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
