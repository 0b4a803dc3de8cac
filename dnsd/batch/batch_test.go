package batch

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo serves every datagram with itself, doubled, until the test ends, and returns its address.
func echo(t *testing.T, listen string, held bool) (netip.AddrPort, *Conn) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(listen)))
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	file, err := Detach(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(file, held)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- double(c) }()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive after Close = %v, want os.ErrClosed", err)
		}
	})
	return addr, c
}

func double(c *Conn) error {
	for {
		n, err := c.Receive()
		if err != nil {
			return err
		}
		for i := range n {
			if q := c.Query(i); q != nil {
				size := copy(c.Answer(i), q)
				size += copy(c.Answer(i)[size:], q)
				c.Reply(i, size)
			}
		}
		if err := c.Send(); err != nil {
			return err
		}
	}
}

// TestEnd ends a worker that waits, and one that is busy: what was received is answered, what was not is there
// for another who reads the socket.
func TestEnd(t *testing.T) {
	modes(t, func(t *testing.T, held bool) {
		for _, busy := range []bool{false, true} {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			addr := conn.LocalAddr().String()
			file, err := Detach(conn)
			if err != nil {
				t.Fatal(err)
			}
			own, err := unix.Dup(int(file.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			var readers [2]*Conn
			for i, f := range []*os.File{file, os.NewFile(uintptr(own), "udp")} {
				if readers[i], err = New(f, held && i == 0); err != nil {
					t.Fatal(err)
				}
				defer readers[i].Close()
			}
			ended := make(chan error, 2)
			go func() { ended <- double(readers[0]) }()
			asked, over := make(chan struct{}), make(chan struct{})
			var asker sync.WaitGroup
			asker.Go(func() { askUntil(t, addr, asked, over) })
			if busy {
				<-asked
			} else {
				close(over)
				asker.Wait()
			}
			go func() { ended <- double(readers[1]) }()
			readers[0].End()
			readers[0].End()
			if err := <-ended; !errors.Is(err, os.ErrClosed) {
				t.Errorf("Receive after End = %v, want os.ErrClosed", err)
			}
			if busy {
				<-asked
				close(over)
				asker.Wait()
			}
		}
	})
}

// askUntil asks one after the other until over is closed, each of which is to be answered, and lets asked take
// one for each that was.
func askUntil(t *testing.T, addr string, asked chan<- struct{}, over <-chan struct{}) {
	defer close(asked)
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	b := make([]byte, 8)
	for {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte("ab"))
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "abab" {
			t.Errorf("answer %q, %v", b[:n], err)
			return
		}
		select {
		case <-over:
			return
		case asked <- struct{}{}:
		default:
		}
	}
}

// modes runs a test with both ways to wait. Holding needs a processor more than there are workers.
func modes(t *testing.T, test func(t *testing.T, held bool)) {
	for _, held := range []bool{false, true} {
		if held && runtime.GOMAXPROCS(0) < 2 {
			continue
		}
		t.Run(fmt.Sprintf("held=%v", held), func(t *testing.T) { test(t, held) })
	}
}

func TestEcho(t *testing.T) {
	modes(t, func(t *testing.T, held bool) {
		for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
			addr, _ := echo(t, listen, held)
			client, err := net.Dial("udp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			client.SetDeadline(time.Now().Add(10 * time.Second))
			buf := make([]byte, 4096)
			for _, size := range []int{1, 7, 40, 600, 616} {
				// More than a batch at once, then each is awaited: a wake-up, then a batch.
				for range 2*Most + 1 {
					client.Write(bytes.Repeat([]byte{byte(size)}, size))
				}
				for range 2*Most + 1 {
					n, err := client.Read(buf)
					if err != nil || n != 2*size || buf[0] != byte(size) || buf[n-1] != byte(size) {
						t.Fatalf("%d octets came back as %d of %d, %v", size, n, buf[0], err)
					}
				}
			}
		}
	})
}

// TestOversize: what is longer than a query may be gets nothing and spoils nothing.
func TestOversize(t *testing.T) {
	modes(t, func(t *testing.T, held bool) {
		addr, _ := echo(t, "127.0.0.1:0", held)
		client, err := net.Dial("udp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		for _, size := range []int{QuerySize + 1, 65000} {
			client.Write(make([]byte, size))
		}
		client.Write([]byte("ab"))
		buf := make([]byte, 4096)
		if n, err := client.Read(buf); err != nil || string(buf[:n]) != "abab" {
			t.Errorf("got %q, %v", buf[:n], err)
		}
	})
}

// TestRefusedAnswers: an address that nothing can be sent to costs that answer and no other.
func TestRefusedAnswers(t *testing.T) {
	addr, _ := echo(t, "127.0.0.1:0", false)
	file, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	own, err := Detach(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(own, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// Three answers made by hand: the second to port 0, which the kernel refuses.
	c.queued = 0
	for i := range 3 {
		c.in[i].header.Namelen = 16
		to := client.LocalAddr().(*net.UDPAddr)
		c.slots[i].from.Family = 2
		port := to.Port
		if i == 1 {
			port = 0
		}
		c.slots[i].from.Port = uint16(port>>8) | uint16(port&255)<<8
		c.slots[i].from.Flowinfo = 0x0100007f
		copy(c.Answer(i), "xyz"[i:])
		c.Reply(i, 1)
	}
	if err := c.Send(); err != nil || c.Lost != 1 {
		t.Errorf("Send = %v with %d lost, want one lost", err, c.Lost)
	}
}

// TestStopsForTheWorld: a wait that keeps its processor lets the garbage collector through.
func TestStopsForTheWorld(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one processor")
	}
	addr, _ := echo(t, "127.0.0.1:0", true)
	client, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	buf := make([]byte, 8)
	for range 50 {
		client.Write([]byte("a"))
		client.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := client.Read(buf); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		runtime.GC() // while the worker waits for the next
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("a collection took %v", took)
		}
	}
}

// TestNoAllocation covers the whole way of a datagram.
func TestNoAllocation(t *testing.T) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("0.0.0.0:0")))
	if err != nil {
		t.Fatal(err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).Port
	file, err := Detach(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(file, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	question := []byte("question")
	if n := testing.AllocsPerRun(200, func() {
		client.Write(question)
		n, err := c.Receive()
		if err != nil || n != 1 || !c.From(0).Is4() {
			t.Fatal(n, err)
		}
		c.Reply(0, copy(c.Answer(0), c.Query(0)))
		if err := c.Send(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram, want none", n)
	}
}
