package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test binary be the new process too: it answers one datagram, then fails.
func TestMain(m *testing.M) {
	if os.Getenv("HANDOVER_TEST") == "" {
		os.Exit(m.Run())
	}
	sockets, line, err := Inherit()
	if err != nil || line == nil {
		os.Exit(9)
	}
	udp, err := sockets.ListenPacket("udp4", "127.0.0.1:0")
	l, err2 := sockets.Listen("unix", os.Getenv("HANDOVER_TEST"))
	if err := errors.Join(err, err2, line.Say(Loaded), line.Hear(context.Background(), Go)); err != nil {
		line.Fail(err)
		os.Exit(8)
	}
	buf := make([]byte, 10)
	n, from, err := udp.ReadFrom(buf)
	if err == nil {
		_, err = udp.WriteTo([]byte("new "+string(buf[:n])), from)
	}
	l.Close()
	line.Fail(fmt.Errorf("so much for that: %v, %d left", err, sockets.Given("udp", "127.0.0.1:0")))
	os.Exit(3)
}

// TestHandover starts a new process, which answers what was sent to the old one.
func TestHandover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("HANDOVER_TEST", path)
	s := new(Sockets)
	udp, err := s.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := s.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	gone, err := s.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close() // it is not handed over
	asker, err := net.Dial("udp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	asker.Write([]byte("hello"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.Start(self, []string{self})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(next.Hear(ctx, Loaded), next.Say(Go)); err != nil {
		t.Fatal(next.Explain(err))
	}
	answer := make([]byte, 20)
	asker.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := asker.Read(answer); err != nil || string(answer[:n]) != "new hello" {
		t.Errorf("answer %q, %v; want it from the new process", answer[:n], err)
	}
	if err := next.Hear(ctx, Ready); err == nil || err.Error() != "so much for that: <nil>, 0 left" {
		t.Errorf("Hear = %v, want the reason that was given", err)
	}
	if err := next.Explain(next.Hear(ctx, Ready)); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Hear after the end = %v, want the exit status", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the new process, which did not serve, has removed the unix socket: %v", err)
	}
	// The old one still has its sockets, and they do not block.
	udp.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, _, err := udp.ReadFrom(answer); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the old process reads %v, want a deadline that holds", err)
	}
}

// TestPass keeps or removes a unix socket's path.
func TestPass(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  func(*Sockets)
		kept bool
	}{
		{"passed on", (*Sockets).Pass, true},
		{"own", (*Sockets).Own, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := new(Sockets)
			l, err := s.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			tt.say(s)
			l.Close()
			if _, err := os.Stat(path); (err == nil) != tt.kept {
				t.Errorf("after the end: %v, kept is to be %v", err, tt.kept)
			}
		})
	}
}

// TestServiceManager takes sockets by LISTEN_FDS only when they are meant for this process.
func TestServiceManager(t *testing.T) {
	for _, tt := range []struct {
		name, pid string
		want      int
	}{
		{"ours", fmt.Sprint(os.Getpid()), -1}, // descriptor 3 is none of the kind, and that is an error
		{"another process's", "1", 0},
		{"none", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("LISTEN_FDS", "1000")
			t.Setenv("LISTEN_PID", tt.pid)
			s, line, err := Inherit()
			if (err != nil) != (tt.want < 0) || err == nil && (len(s.given) != 0 || line != nil) {
				t.Errorf("Inherit = %v, %v, %v", s, line, err)
			}
		})
	}
}

// TestNameOf names sockets of every kind as net.Listen was asked for them.
func TestNameOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := new(Sockets)
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"unix", path}} {
		if _, err := s.Listen(at[0], at[1]); err != nil {
			t.Fatal(err)
		}
	}
	fds, _, err := s.duplicate()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(fds)
	for i, o := range s.open {
		l := o.conn.(net.Listener)
		if got, err := nameOf(fds[i]); err != nil || got != name(l.Addr().Network(), l.Addr().String()) {
			t.Errorf("nameOf = %q, %v; want that of %s", got, err, l.Addr())
		}
	}
}

// TestNotify tells a service manager, and nobody.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		name, at string
		fails    bool
	}{{"nobody", "", false}, {"the manager", path, false}, {"one that is gone", path + "x", true}} {
		t.Setenv("NOTIFY_SOCKET", tt.at)
		if err := Notify("READY=1"); (err != nil) != tt.fails {
			t.Errorf("%s: Notify = %v", tt.name, err)
		}
	}
	got := make([]byte, 100)
	if n, err := l.Read(got); err != nil || string(got[:n]) != "READY=1" {
		t.Errorf("told %q, %v", got[:n], err)
	}
}
