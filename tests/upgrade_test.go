package tests

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/control"
)

// asking is a steady stream of DNS questions from many sockets, each of which asks again as soon as it
// has its answer.
type asking struct {
	addr    string
	query   []byte
	ctx     context.Context
	running sync.WaitGroup
	answers [2]atomic.Int64 // UDP, TCP
	slowest atomic.Int64    // nanoseconds that an answer took

	mu   sync.Mutex
	lost []string
}

// askSteadily starts asking and returns a function that ends it and gives what was lost.
func askSteadily(t *testing.T, addr, name string) (a *asking, end func() []string) {
	t.Helper()
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), dns.TypeNAPTR)
	query, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a = &asking{addr: addr, query: query, ctx: ctx}
	for range 6 {
		a.running.Go(a.overUDP)
	}
	for i := range 3 {
		a.running.Go(func() { a.overTCP(1 + 10*i) })
	}
	end = sync.OnceValue(func() []string {
		cancel()
		a.running.Wait()
		return a.lost
	})
	t.Cleanup(func() { end() })
	return a, end
}

const answerPatience = 4 * time.Second // until a question counts as lost

func (a *asking) lose(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = append(a.lost, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// check notes an answer that took so long, or that it is none.
func (a *asking) check(way int, in []byte, began time.Time) {
	if len(in) < 12 || in[3]&15 != dns.RcodeSuccess || binary.BigEndian.Uint16(in[6:]) == 0 {
		a.lose("bad answer %x", in)
	}
	a.answers[way].Add(1)
	if took := int64(time.Since(began)); took > a.slowest.Load() {
		a.slowest.Store(took)
	}
}

func (a *asking) overUDP() {
	in := make([]byte, 1500)
	for a.ctx.Err() == nil { // another socket now and then: another worker's turn
		conn, err := net.Dial("udp", a.addr)
		if err != nil {
			a.lose("dial: %v", err)
			return
		}
		for i := 0; i < 500 && a.ctx.Err() == nil; i++ {
			began := time.Now()
			conn.SetDeadline(began.Add(answerPatience))
			_, err := conn.Write(a.query)
			n := 0
			if err == nil {
				n, err = conn.Read(in)
			}
			if err != nil {
				a.lose("UDP: %v", err)
				break
			}
			a.check(0, in[:n], began)
		}
		conn.Close()
	}
}

// overTCP asks so many questions on each connection.
func (a *asking) overTCP(each int) {
	out := append(binary.BigEndian.AppendUint16(nil, uint16(len(a.query))), a.query...)
	in := make([]byte, 1500)
	for a.ctx.Err() == nil {
		conn, err := net.DialTimeout("tcp", a.addr, answerPatience)
		if err != nil {
			a.lose("TCP dial: %v", err)
			continue
		}
		for range each {
			began := time.Now()
			conn.SetDeadline(began.Add(answerPatience))
			_, err := conn.Write(out)
			if err == nil {
				_, err = io.ReadFull(conn, in[:2])
			}
			n := int(binary.BigEndian.Uint16(in))
			if err == nil && n <= len(in) {
				_, err = io.ReadFull(conn, in[:n])
			}
			if err != nil {
				a.lose("TCP: %v", err)
				break
			}
			a.check(1, in[:n], began)
		}
		conn.Close()
	}
}

// upgradable is a server whose program is a file of its own, which a test can replace.
type upgradable struct {
	*server
	pid int // of the process that serves
}

func startUpgradable(t *testing.T) *upgradable {
	t.Helper()
	s := newServer(t)
	u := &upgradable{server: s}
	s.program = s.path("tandem")
	u.install()
	t.Cleanup(u.endSuccessor)
	s.start()
	u.pid = s.cmd.Process.Pid
	telco, err := os.ReadFile("testdata/telco.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.apply(string(telco))
	return u
}

// install puts the program at its path, as an upgrade does.
func (u *upgradable) install() {
	u.t.Helper()
	path, err := program()
	if err != nil {
		u.t.Fatal(err)
	}
	if err := errors.Join(os.Link(path, u.program+".new"), os.Rename(u.program+".new", u.program)); err != nil {
		u.t.Fatal(err)
	}
}

// installScript puts a script in the program's place.
func (u *upgradable) installScript(text string) {
	u.t.Helper()
	err := os.WriteFile(u.program+".new", []byte("#!/bin/sh\n"+text+"\n"), 0o700)
	if err := errors.Join(err, os.Rename(u.program+".new", u.program)); err != nil {
		u.t.Fatal(err)
	}
}

// upgrade runs tandem upgrade with the real command line and returns what it says.
func (u *upgradable) upgrade(args ...string) (string, int) {
	u.t.Helper()
	out, code := u.run("", append([]string{"upgrade"}, args...)...)
	if m := regexp.MustCompile(`process (\d+) serves`).FindStringSubmatch(out); m != nil {
		u.pid, _ = strconv.Atoi(m[1])
	}
	return out, code
}

// mustUpgrade upgrades and waits for the old process's end.
func (u *upgradable) mustUpgrade() {
	u.t.Helper()
	old := u.pid
	out, code := u.upgrade()
	if code != 0 || u.pid == old {
		u.t.Fatalf("tandem upgrade: exit %d\n%s\n%s", code, out, tail(u.log(), 20))
	}
	if old == u.cmd.Process.Pid {
		if err := <-u.ended; err != nil {
			u.t.Errorf("the old process ended with %v after an upgrade", err)
		}
		u.ended <- nil
	}
	eventually(u.t, 20*time.Second, "the old process has ended", func() bool { return !isAlive(old) })
}

// isAlive reports whether a process runs; one that has ended and was not waited for does not.
func isAlive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// endSuccessor ends the process that serves by then.
func (u *upgradable) endSuccessor() {
	if u.pid == 0 || u.pid == u.cmd.Process.Pid {
		return
	}
	syscall.Kill(u.pid, syscall.SIGTERM)
	for range 500 {
		if !isAlive(u.pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	syscall.Kill(u.pid, syscall.SIGKILL)
	u.t.Errorf("process %d runs on 10 s after SIGTERM", u.pid)
}

// change gives account 1001 one more vanity label, and asks for it as soon as that is acknowledged. A
// change that was refused is not acknowledged, and may come again.
func (u *upgradable) change(ctx context.Context, n int) error {
	client := control.NewClient(u.path("tandem.sock"))
	defer client.Close()
	id := fmt.Sprintf("u%d", n)
	text := fmt.Sprintf(`{"kind":"Account","id":"%[1]s","zone":"voice.example.net","labels":[{"label":"%[1]s"}],"group":"gold"}`, id)
	result, err := client.Apply(ctx, "test", strings.NewReader(text), nil)
	if err == nil {
		err = client.Wait(ctx, result.Revision)
	}
	if err != nil {
		return err
	}
	question := new(dns.Msg)
	question.SetQuestion(id+".voice.example.net.", dns.TypeNAPTR)
	for _, network := range []string{"udp", "udp", "udp", "udp", "tcp"} {
		reply, _, err := (&dns.Client{Net: network, Timeout: answerPatience}).Exchange(question, u.addr(1)+":5300")
		if err != nil || len(reply.Answer) == 0 {
			return fmt.Errorf("%w: %s over %s: %v %v", errNotServed, id, network, reply, err)
		}
	}
	return nil
}

var errNotServed = errors.New("acknowledged and not served")

// changeSteadily changes accounts until ctx ends, and reports those that were acknowledged and not served.
func (u *upgradable) changeSteadily(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	acknowledged, refused := 0, 0
	running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			err := u.change(ctx, n)
			switch {
			case errors.Is(err, errNotServed):
				t.Error(err)
			case err != nil && ctx.Err() == nil:
				refused++
			default:
				acknowledged++
			}
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
		t.Logf("%d changes acknowledged and served, %d refused", acknowledged, refused)
		if acknowledged < 50 {
			t.Errorf("%d changes acknowledged, %d refused", acknowledged, refused)
		}
	})
}

// TestUpgrade replaces the running process several times, well and badly, under a stream of questions
// and changes. Nothing is lost.
func TestUpgrade(t *testing.T) {
	u := startUpgradable(t)
	a, end := askSteadily(t, u.addr(1)+":5300", "alpha.voice.example.net")
	endChanges := u.changeSteadily(t)
	defer endChanges()
	u.mustUpgrade()
	serving := u.pid
	for _, bad := range []struct{ name, script, says string }{
		{"a broken program", "exit 3", "it ended with exit status 3"},
		{"one that is none", "\x00", "exit status"},
		{"one that hangs", "exec sleep 1000", "has not loaded after 2s"},
		{"one that says something else", "echo hello >&3; exec sleep 1000", `it said "hello"`},
		{"one that dies when it gets the store", "echo loaded >&3; read word <&3; kill -9 $$", "it ended with signal: killed"},
		{"one that gives up when it gets the store", "echo loaded >&3; read word <&3; echo failed I cannot >&3", "I cannot"},
	} {
		u.installScript(bad.script)
		out, code := u.upgrade("--patience", "2s")
		if code != 1 || !strings.Contains(out, bad.says) || u.pid != serving {
			t.Fatalf("upgrade to %s: exit %d, want 1 and %q\n%s", bad.name, code, bad.says, out)
		}
		if !strings.Contains(tail(u.log(), 40), "upgrade failed; this process goes on") {
			t.Errorf("upgrade to %s: the log does not say that it failed", bad.name)
		}
	}
	u.install()
	u.killSuccessors(t)
	u.mustUpgrade()
	syscall.Kill(u.pid, syscall.SIGUSR2)
	old := u.pid
	eventually(t, 20*time.Second, "SIGUSR2 has replaced the process", func() bool { return !isAlive(old) })
	logged := regexp.MustCompile(`upgrade done.* pid=(\d+)`).FindAllStringSubmatch(u.log(), -1)
	if u.pid, _ = strconv.Atoi(logged[len(logged)-1][1]); !isAlive(u.pid) {
		t.Fatalf("process %d does not run\n%s", u.pid, tail(u.log(), 20))
	}
	u.mustUpgrade()
	endChanges()
	lost := end()
	t.Logf("%d answers over UDP, %d over TCP, the slowest after %s", a.answers[0].Load(), a.answers[1].Load(), time.Duration(a.slowest.Load()))
	for _, m := range regexp.MustCompile(`upgrade done.*`).FindAllString(u.log(), -1) {
		t.Log(m)
	}
	if len(lost) > 0 || a.answers[0].Load() < 1000 || a.answers[1].Load() < 100 {
		t.Errorf("%d questions lost: %s", len(lost), strings.Join(lost[:min(len(lost), 10)], "; "))
	}
	if left, _ := filepath.Glob(u.path("data/copy*")); len(left) > 0 {
		t.Errorf("%q is left behind", left)
	}
	if out := u.must("store", "verify"); !strings.Contains(out, "0 problems") {
		t.Errorf("tandem store verify: %s", out)
	}
}

// killSuccessors kills the real program at several moments of its start.
func (u *upgradable) killSuccessors(t *testing.T) {
	t.Helper()
	children := fmt.Sprintf("/proc/%d/task/*/children", u.pid)
	for _, wait := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond} {
		killed := make(chan int, 1)
		go func() {
			for range 10_000 {
				lists, _ := filepath.Glob(children)
				for _, list := range lists {
					text, _ := os.ReadFile(list)
					if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
						time.Sleep(wait)
						syscall.Kill(pid, syscall.SIGKILL)
						killed <- pid
						return
					}
				}
				time.Sleep(time.Millisecond)
			}
			killed <- 0
		}()
		serving := u.pid
		out, code := u.upgrade()
		if pid := <-killed; pid == 0 || code != 1 || u.pid != serving {
			t.Fatalf("upgrade, the new process %d killed after %s: exit %d, want 1\n%s", pid, wait, code, out)
		}
	}
}

// TestPlainRestartLoses is the twin: what TestUpgrade counts is lost when the process is stopped and
// started.
func TestPlainRestartLoses(t *testing.T) {
	s := startServer(t)
	_, end := askSteadily(t, s.addr(1)+":5300", "alpha.voice.example.net")
	s.stop()
	s.start()
	if lost := end(); len(lost) == 0 {
		t.Error("a restart lost no question: the measurement sees nothing")
	}
}
